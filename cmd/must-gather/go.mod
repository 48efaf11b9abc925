module github.com/image-csi/image-csi-operator/cmd/must-gather

go 1.26.0

require (
	github.com/prometheus/procfs v0.22.0
	github.com/spf13/pflag v1.0.10
	github.com/u-root/u-root v0.16.0
	golang.org/x/sys v0.49.0
	mvdan.cc/sh/v3 v3.14.1
)

require (
	github.com/dustin/go-humanize v1.0.1 // indirect
	golang.org/x/term v0.47.0 // indirect
)
