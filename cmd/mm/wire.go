package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	authlocal "modelmanager.dev/internal/auth/local"
	"modelmanager.dev/internal/cli"
	"modelmanager.dev/internal/environment"
	leaderlocal "modelmanager.dev/internal/leader/local"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/local"
	"modelmanager.dev/internal/registry/file"
	"modelmanager.dev/internal/server"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// config makes a server's configuration. This file and wire_kube.go are the
// only places that know the drivers.
func (o *serveOptions) config(ctx context.Context, logger *slog.Logger) (server.Config, error) {
	switch o.platform {
	case "local":
		return o.local(ctx, logger)
	case "kubernetes":
		return o.kubernetes(ctx, logger)
	}
	return server.Config{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "--platform is %q; it can be local or kubernetes", o.platform)
}

// local makes a server's configuration on this machine. A data folder has:
//
//	key            the secret from which tokens derive
//	registry/      models and versions
//	objects/       uploads, artifacts, jobs
//	platform/      what runs: unpacked versions, logs
//	environments/  what languages need, one for each lock file
//	secrets/       a file for each secret that specs name, put there by the operator
//	scratch/       temporary files, emptied at start
func (o *serveOptions) local(ctx context.Context, logger *slog.Logger) (server.Config, error) {
	var none server.Config
	data, err := filepath.Abs(o.data)
	if err != nil {
		return none, err
	}
	if err := os.MkdirAll(filepath.Join(data, "objects"), 0o700); err != nil {
		return none, fmt.Errorf("making the data folder: %w", err)
	}
	scratch := filepath.Join(data, "scratch")
	key, err := secret(filepath.Join(data, "key"))
	if err != nil {
		return none, err
	}
	program, err := os.Executable()
	if err != nil {
		return none, fmt.Errorf("finding the program that runs agents: %w", err)
	}
	store, err := file.Open(filepath.Join(data, "registry"), file.Options{Logger: logger})
	if err != nil {
		return none, err
	}
	bucket, err := storage.Open(ctx, cmp.Or(o.storage, "file://"+filepath.ToSlash(filepath.Join(data, "objects"))))
	if err != nil {
		return none, errors.Join(err, store.Close())
	}
	environments := &environment.Manager{Dir: filepath.Join(data, "environments"), Logger: logger}
	return server.Config{
		Listen: o.listen, Hosts: o.hosts, Models: o.models, Allowed: o.allowed, Retention: o.retention, MaxUpload: o.maxUpload.bytes,
		Key: key, Store: store, Bucket: bucket,
		Driver: func(host server.Host) (platform.Driver, error) {
			driver, err := local.New(local.Options{
				Dir: filepath.Join(data, "platform"), Agent: []string{program, "agent"},
				Artifact: host.Open, Environments: environments, Slots: o.slots, Logger: logger,
				Secret: secretsIn(filepath.Join(data, "secrets")),
			})
			if err != nil {
				return nil, err
			}
			// The driver holds the folder now: nobody else's files are in there.
			if err := empty(scratch); err != nil {
				return nil, errors.Join(err, driver.Close())
			}
			return driver, nil
		},
		Validator: &pipeline.Validator{
			Environments: environments, Files: &pipeline.Files{Prefixes: o.filesFrom, Cache: filepath.Join(data, "files")}, Scratch: scratch,
			// Where a model is tried it has what it will have where it runs.
			Secret: func(secret spec.Secret) (string, error) {
				return secretsIn(filepath.Join(data, "secrets"))(ctx, secret.Name)
			},
		},
		Elector: leaderlocal.Alone{},
		Peers:   peers.None{},
		Auth:    auth.New(auth.Options{Authenticator: authlocal.Everybody{}, Authorizer: authlocal.Everybody{}, Logger: logger}),
		Version: cli.ProgramVersion(), Logger: logger,
	}, nil
}

// secretsIn reads secrets from files in a folder, named as the specs name them.
func secretsIn(dir string) func(ctx context.Context, name string) (string, error) {
	return func(_ context.Context, name string) (string, error) {
		root, err := os.OpenRoot(dir)
		if err == nil {
			defer root.Close()
			var value []byte
			if value, err = root.ReadFile(name); err == nil {
				return strings.TrimRight(string(value), "\r\n"), nil
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return "", modelmanager.Errorf(modelmanager.CodeNotFound,
				"there is no secret %q on this server; its operator puts the value into the file %s", name, filepath.Join(dir, name))
		}
		return "", fmt.Errorf("reading the secret %q: %w", name, err)
	}
}

// empty makes a folder that has nothing in it.
func empty(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("emptying %s: %w", dir, err)
	}
	return os.MkdirAll(dir, 0o700)
}

// secretSize is that of the server's secret, in bytes.
const secretSize = 32

// secret reads the server's secret; the first time, it makes one.
func secret(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == secretSize:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("%s isn't a server's secret: it has %d bytes, not %d; restore it, or delete it to make a new one", path, len(key), secretSize)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading the server's secret: %w", err)
	}
	key = make([]byte, secretSize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, key, 0o600); err != nil {
		return nil, fmt.Errorf("making the server's secret: %w", err)
	}
	return key, os.Rename(temporary, path)
}
