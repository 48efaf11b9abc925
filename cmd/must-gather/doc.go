// Command must-gather is the shell of the image for `oc adm must-gather`, and the few commands that oc's scripts call, in one program: it
// is what it is called as. The operator's own image has no shell.
//
// What oc runs is in openshift/oc, pkg/cli/admin/mustgather and pkg/cli/rsync: `/bin/bash -c` with a script that watches the volume's
// use by df, awk, sed and sleep, starts /usr/bin/gather in a session of its own by setsid, and ends with sync; a second container that
// waits; and tar in it.
package main
