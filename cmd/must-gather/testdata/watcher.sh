dir="DIRECTORY"
limit="LIMIT"
while true; do
used=$(df -P "$dir" | awk 'NR==2 {print $5}' | sed 's/%//')
echo "used: ${used} of ${limit}"
if [ "$used" -gt "$limit" ]; then
	echo "too much is used"
	if [ "$HAVE_SESSION_TOOLS" = "true" ]; then
		ps -o sess --no-headers | sort -u | while read sid; do
			[[ "$sid" -eq "${$}" ]] && continue
			pkill --signal SIGKILL --session "$sid"
		done
	else
		kill 0
	fi
	exit 1
fi
sleep 5
done
