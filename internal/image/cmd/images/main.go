// Command images makes the images of Model Manager itself from its static
// programs, and pushes them: REPOSITORY/server and REPOSITORY/agent. It prints
// their references by digest.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"modelmanager.dev/internal/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("images", flag.ExitOnError)
	repository := flags.String("repository", "", "where to push to, such as registry.example.org/model-manager")
	tag := flags.String("tag", "dev", "their tag")
	server := flags.String("server", "bin/mm", "the program mm, linked statically")
	agent := flags.String("agent", "bin/mm-agent", "the program mm-agent, linked statically")
	certificates := flags.String("certificates", "", "the authorities that the server trusts; default: this machine's")
	platform := flags.String("platform", image.DefaultPlatform, "what the programs are for")
	insecure := flags.String("insecure-registry", "", "host:port of registries without TLS, with commas")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *repository == "" || flags.NArg() > 0 {
		return fmt.Errorf("usage: images --repository registry.example.org/model-manager [--tag TAG]")
	}
	options := image.Options{}
	if *insecure != "" {
		options.Insecure = strings.Split(*insecure, ",")
	}
	registry := image.NewRegistry(options)
	for _, program := range []struct {
		name  string
		image image.Program
	}{{"server", image.Server(*server, *certificates)}, {"agent", image.Agent(*agent)}} {
		built, err := program.image.Build(*platform)
		if err != nil {
			return err
		}
		reference, err := registry.PushAs(ctx, built, strings.TrimSuffix(*repository, "/")+"/"+program.name+":"+*tag)
		if err != nil {
			return err
		}
		fmt.Println(reference)
	}
	return nil
}
