package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/sandboxprobe"
)

// terminationLog is the file from which the kubelet takes a container's termination message (Kubernetes API, Container,
// terminationMessagePath).
const terminationLog = "/dev/termination-log"

// stages of a probe, as arguments of this program.
const (
	stageNothing = "nothing"
	stageBuild   = "build"
	stageLook    = "look"
)

func probeStages() sandboxprobe.Stages {
	return sandboxprobe.Stages{
		Nothing: []string{contract.SandboxProbeCommand, stageNothing},
		Build:   []string{contract.SandboxProbeCommand, stageBuild},
		Look:    []string{contract.SandboxProbeCommand, stageLook},
	}
}

// probeCommand makes a sandbox and reports whether it held. The operator runs it in a pod by itself: it is no part of the node plugin,
// and is here because both are in one image.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use:       contract.SandboxProbeCommand,
		Short:     "Make a sandbox as bubblewrap does, and report whether it held",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{stageNothing, stageBuild, stageLook},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return probe(cmd)
			}
			switch args[0] {
			case stageBuild:
				return sandboxprobe.Report(sandboxprobe.Build(cmd.Context(), probeStages()))
			case stageLook:
				return sandboxprobe.Report(sandboxprobe.Look())
			}
			return nil
		},
	}
}

func probe(cmd *cobra.Command) error {
	var report string
	if err := sandboxprobe.Confined(); err != nil {
		report = sandboxprobe.NotConfined(err)
	} else {
		report = sandboxprobe.Run(cmd.Context(), probeStages())
	}
	_, _ = fmt.Fprintln(cmd.OutOrStdout(), report)
	if err := os.WriteFile(terminationLog, []byte(report), 0o600); err != nil {
		return fmt.Errorf("tell the kubelet what became of the sandbox: %w", err)
	}
	return nil
}
