// Package server puts the parts together: registry, platform, gateway, scaler,
// batch and API, over the drivers that it is given. It holds no state of its
// own.
package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/api"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/gateway"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/scaler"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// Config is all that a server is told.
type Config struct {
	Listen    string        // host:port of the API
	Hosts     []string      // names by which callers may address the server, beside loopback
	Models    string        // a folder of models to follow; "": none
	Allowed   []string      // prefixes of the URIs that jobs may read and write
	Retention time.Duration // of jobs' payloads; 0: for ever

	Key    []byte // the secret from which every token derives, at least 32 bytes
	Images bool   // the driver runs models in images

	Store  registry.Store
	Bucket *storage.Bucket
	// Driver makes the platform's driver; open reads a version's archive.
	Driver    func(open OpenArtifact) (platform.Driver, error)
	Validator *pipeline.Validator // for Models

	Version string
	Logger  *slog.Logger
}

// Server is a running server's parts.
type Server struct {
	Config
	artifacts *artifacts
	registry  *registry.Registry
	driver    platform.Driver
	platform  *platform.Platform
	gateway   *gateway.Gateway
	scaler    *scaler.Scaler
	jobs      *batch.Service
	uploads   *storage.Uploads
	signer    *storage.Signer
	locations *storage.Locations
	api       *api.API
	follower  *pipeline.Follower

	listener net.Listener // the API's
	internal net.Listener // for the agents, on loopback
	draining atomic.Bool
}

// New listens, and wires the parts; nothing runs before Run. What it has opened
// is closed again if it fails.
func New(ctx context.Context, config Config) (_ *Server, err error) {
	s := &Server{Config: config}
	var opened []func()
	defer func() {
		if err != nil {
			for _, shut := range opened {
				shut()
			}
		}
	}()
	if s.locations, err = storage.NewLocations(ctx, config.Allowed); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", config.Listen); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "listening on %s: %w; is another server running there? --listen chooses another address", config.Listen, err)
	}
	opened = append(opened, func() { s.listener.Close() })
	if s.internal, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listening for agents: %w", err)
	}
	opened = append(opened, func() { s.internal.Close() })

	s.uploads = storage.NewUploads(config.Bucket)
	s.artifacts = &artifacts{bucket: config.Bucket, uploads: s.uploads}
	if s.driver, err = config.Driver(s.artifacts.open); err != nil {
		return nil, err
	}
	opened = append(opened, func() { s.driver.Close() })
	if err = s.wire(); err != nil {
		return nil, err
	}
	return s, nil
}

// wire makes the parts, bottom up.
func (s *Server) wire() (err error) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	s.registry = registry.New(s.Store, registry.Options{Logger: s.Logger})
	s.platform = platform.New(s.driver, platform.Options{Images: s.Images, Logger: s.Logger})
	s.gateway, err = gateway.New(gateway.Config{
		Registry: s.registry, Platform: s.platform, Workload: s.workload, Metrics: metrics, Logger: s.Logger,
	})
	if err != nil {
		return err
	}
	s.scaler = scaler.New(scaler.Config{
		Registry: s.registry, Platform: s.platform, Workload: s.workload,
		Loads: s.loads, Status: s.gateway.Status, Logger: s.Logger,
	})
	s.signer = storage.NewSigner(s.derive("objects"))
	s.jobs = batch.New(batch.Config{
		Bucket: s.Bucket, Locations: s.locations, Uploads: s.uploads, Signer: s.signer,
		Platform: s.platform, Versions: s.registry, Key: s.derive("jobs"),
		Server: "http://" + s.internal.Addr().String(), Retention: s.Retention, Logger: s.Logger,
	})
	s.api = api.New(api.Config{
		Registry: s.registry, Platform: s.platform, Gateway: s.gateway, Jobs: s.jobs, Uploads: s.uploads, Bucket: s.Bucket,
		Adopt: s.artifacts.adopt, Ready: s.ready, Version: s.Version, Hosts: s.Hosts, Logger: s.Logger,
		Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
	})
	if s.Models != "" {
		s.follower = &pipeline.Follower{
			Root: s.Models, Validator: s.Validator, Target: target{s}, Published: s.published, Logger: s.Logger,
		}
	}
	return nil
}

// derive makes a secret for one purpose.
func (s *Server) derive(purpose string) []byte {
	mac := hmac.New(sha256.New, s.Key)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// workload is what a platform needs to run a version. Its key is derived, so
// that every replica of the server knows it and none keeps it.
func (s *Server) workload(ctx context.Context, ref platform.Ref) (platform.Workload, error) {
	version, err := s.registry.Version(ctx, ref.Model, ref.Version)
	if err != nil {
		return platform.Workload{}, err
	}
	parsed, err := spec.FromCanonical(version.Spec)
	if err != nil {
		return platform.Workload{}, err
	}
	key := hex.EncodeToString(s.derive(fmt.Sprintf("agent %s %d", ref.Model, ref.Version)))
	return platform.Workload{Version: version, Spec: parsed, Key: key}, nil
}

// loads tells what callers want of this server's versions.
func (s *Server) loads(context.Context) ([]scaler.Load, error) {
	own := s.gateway.Load()
	loads := make([]scaler.Load, len(own))
	for i, load := range own {
		loads[i] = scaler.Load(load)
	}
	return loads, nil
}

// Address is where the API listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Loopback tells whether only programs on this machine can reach the API.
func (s *Server) Loopback() bool {
	address, ok := s.listener.Addr().(*net.TCPAddr)
	return ok && address.IP.IsLoopback()
}

func (s *Server) ready() error {
	if s.draining.Load() {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "the server is shutting down")
	}
	select {
	case <-s.registry.Ready():
		return nil
	default:
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "the list of models isn't loaded yet")
	}
}

// shutdownTimeout bounds what a shutdown waits for calls under way.
const shutdownTimeout = 30 * time.Second

// Run serves until ctx ends, then shuts down in this order: it says that it
// isn't ready; takes no more calls, and finishes those under way; ends its
// loops; ends replicas and jobs (which go on when the server is back); closes
// the store. published is called when the folder of models has been dealt with.
func (s *Server) Run(ctx context.Context, published func(problems map[string]error)) error {
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoops()
	group, failed := errgroup.WithContext(loops)
	group.Go(func() error { return s.registry.Run(failed) })
	group.Go(func() error { return s.platform.Run(failed) })
	group.Go(func() error { return s.scaler.Run(failed) })
	group.Go(func() error { return s.jobs.Run(failed) })
	if s.follower != nil {
		group.Go(func() error {
			if err := s.registry.WaitSynced(failed); err != nil {
				return err
			}
			return s.follower.Run(failed, published)
		})
	}

	public := &http.Server{Handler: s.api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug)}
	public.RegisterOnShutdown(s.api.Drain)
	private := &http.Server{Handler: s.internalHandler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug)}
	group.Go(func() error { return serve(public, s.listener) })
	group.Go(func() error { return serve(private, s.internal) })

	select {
	case <-ctx.Done():
	case <-failed.Done():
	}
	s.draining.Store(true)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	drained := errors.Join(public.Shutdown(deadline), s.gateway.Shutdown(deadline))
	stopLoops()
	private.Close()
	err := group.Wait()
	closed := errors.Join(s.driver.Close(), s.Store.Close(), s.Bucket.Close())
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, drained, closed)
}

func serve(server *http.Server, listener net.Listener) error {
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// internalHandler is what agents may call, each call with a token or a signed
// address of its own.
func (s *Server) internalHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/internal/jobs/", s.jobs.Handler())
	mux.Handle("/internal/objects/", storage.Handler(s.signer, s.Bucket, s.locations))
	return mux
}
