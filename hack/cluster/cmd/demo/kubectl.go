package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kubectl runs the cluster's own kubectl against it.
type kubectl struct {
	program    string
	kubeconfig string
	root       string // the checkout, from which manifests are named
}

func newKubectl(binaries, kubeconfig, root string) kubectl {
	return kubectl{program: filepath.Join(binaries, "kubectl"), kubeconfig: kubeconfig, root: root}
}

func (k kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, k.program, args...)
	command.Dir = k.root
	command.Env = append(os.Environ(), "KUBECONFIG="+k.kubeconfig)
	return command
}

// run hides what kubectl says unless it fails.
func (k kubectl) run(ctx context.Context, input string, args ...string) error {
	command := k.command(ctx, args...)
	var said bytes.Buffer
	command.Stdin, command.Stderr = strings.NewReader(input), &said
	if err := command.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return nil
}

// show prints the command as a person would type it, and what it answers.
func (k kubectl) show(ctx context.Context, args ...string) error {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = quote(arg)
	}
	fmt.Printf("\n$ kubectl %s\n", strings.Join(quoted, " "))
	command := k.command(ctx, args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// quote makes an argument safe to paste into a shell.
func quote(arg string) string {
	if strings.ContainsAny(arg, " \t'\"\\$|&;<>(){}*?") {
		return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return arg
}
