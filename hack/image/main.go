package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	usage := errors.New(`say what to do: "make" builds a release into a directory, "push" copies its image and chart into a registry`)
	if len(args) == 0 {
		return usage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	dir := flags.String("dir", "dist", "the release's directory")
	repository := flags.String("repository", "", "registry and name of the image, without tag or digest; the manifests name it")
	switch args[0] {
	case "make":
		version := flags.String("version", "", "the release's version, as in 1.2.3")
		root := flags.String("root", ".", "the checkout")
		wanted := flags.String("architectures", strings.Join(architectures, ","), "those of the image, with commas between them")
		desktops := flags.String("desktops", "", "the systems that kubectl imagecsi is for, as in linux/amd64, with spaces between them")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return makeRelease(ctx, release{root: *root, dir: *dir, version: *version, repository: *repository,
			architectures: strings.Split(*wanted, ","), desktops: strings.Fields(*desktops)})
	case "push":
		plain := flags.Bool("plain-http", false, "the registry has no TLS")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return push(ctx, *dir, *repository, *plain)
	default:
		return usage
	}
}
