// Package server puts the parts together: registry, platform, gateway, scaler,
// batch and API, over the drivers that it is given. It holds no state of its
// own.
package server

import (
	"cmp"
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
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/api"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/gateway"
	"modelmanager.dev/internal/http1"
	"modelmanager.dev/internal/leader"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/repository"
	"modelmanager.dev/internal/rollout"
	"modelmanager.dev/internal/scaler"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
	"modelmanager.dev/internal/web"
)

// Config is all that a server is told.
type Config struct {
	Listen string // host:port of the API
	// Internal is host:port where agents and other servers call this one, and
	// InternalURL how agents reach it. Default: a free port on loopback.
	Internal    string
	InternalURL string
	Hosts       []string // names by which callers may address the server, beside loopback
	Models      string   // a folder of models to follow; "": none
	// Repository is a branch of a git repository to follow; no URL: none. It is
	// looked at every RepositoryInterval.
	Repository         repository.Mirror
	RepositoryInterval time.Duration
	Allowed            []string      // prefixes of the URIs that jobs may read and write
	Retention          time.Duration // of jobs' payloads; 0: for ever
	MaxUpload          int64         // bytes; 0: 1 TiB
	// ThroughServer says that agents of jobs reach nothing but the server, not
	// even the object storage by signed URLs.
	ThroughServer bool

	Key []byte // the secret from which every token derives, at least 32 bytes

	// Artifacts says what publishers bring, which is what the driver runs; the
	// zero value: archives. Image makes an image a version's artifact, and
	// Assembly is how the server itself makes images of the folder Models.
	Artifacts modelmanager.Artifacts
	Image     func(ctx context.Context, model, reference string) (modelmanager.Artifact, error)
	Assembly  *pipeline.Images
	// ImageFile reads a file of a model's folder out of an image, at most limit bytes.
	ImageFile func(ctx context.Context, reference, path string, limit int64) ([]byte, error)

	Store  registry.Store
	Prune  bool // drop old versions that nothing needs
	Bucket *storage.Bucket
	// Driver makes the platform's driver.
	Driver    func(host Host) (platform.Driver, error)
	Validator *pipeline.Validator // for Models

	Auth *auth.Auth // who may do what; nil: nobody may do anything
	// Provider is where people sign in to the page at PublicURL; nil: they paste
	// a token.
	Provider  web.Provider
	PublicURL string

	Elector leader.Elector // runs the loops that one server alone may run
	Peers   peers.Finder   // the other servers
	Name    string         // of this server among them; "": it is alone

	Version string
	Logger  *slog.Logger
}

// Host is what a platform's driver has of the server.
type Host struct {
	Open OpenArtifact                  // reads a version's archive
	Key  func(ref platform.Ref) string // what a version's agents want of their callers
}

// Server is a running server's parts.
type Server struct {
	Config
	artifacts *artifacts
	registry  *registry.Registry
	driver    platform.Driver
	platform  *platform.Platform
	gateway   *gateway.Gateway
	activity  *activity.Service
	scaler    *scaler.Scaler
	rollouts  *rollout.Loop
	jobs      *batch.Service
	uploads   *storage.Uploads
	signer    *storage.Signer
	locations *storage.Locations
	api       *api.API
	web       *web.Web
	follower  follower // nil: nothing is followed

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
	if prefix := s.locations.Covers(config.Bucket); prefix != "" {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"--allow-uri %s would let any job read the server's own storage; give --storage a folder outside of it", prefix)
	}
	if s.listener, err = net.Listen("tcp", config.Listen); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "listening on %s: %w; is another server running there? --listen chooses another address", config.Listen, err)
	}
	opened = append(opened, func() { s.listener.Close() })
	if s.internal, err = net.Listen("tcp", cmp.Or(config.Internal, "127.0.0.1:0")); err != nil {
		return nil, fmt.Errorf("listening for agents: %w", err)
	}
	opened = append(opened, func() { s.internal.Close() })

	s.uploads = storage.NewUploads(config.Bucket)
	s.artifacts = &artifacts{bucket: config.Bucket, uploads: s.uploads}
	if s.driver, err = config.Driver(Host{Open: s.artifacts.open, Key: s.agentKey}); err != nil {
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
	s.platform = platform.New(s.driver, platform.Options{Images: s.Artifacts.Kind == modelmanager.ArtifactImage, Logger: s.Logger})
	recorder := activity.NewRecorder()
	s.gateway, err = gateway.New(gateway.Config{
		Registry: s.registry, Platform: s.platform, Workload: s.workload, Activity: recorder, Metrics: metrics, Logger: s.Logger,
	})
	if err != nil {
		return err
	}
	s.activity = activity.New(activity.Config{
		Recorder: recorder, Platform: s.platform, Loads: s.underWay, Peers: s.Peers, Key: s.derive("peers"),
	})
	s.scaler = scaler.New(scaler.Config{
		Registry: s.registry, Platform: s.platform, Workload: s.workload,
		Loads: peers.NewCollector(s.Peers, s.derive("peers"), s.load).All, Status: s.gateway.Status, Logger: s.Logger,
	})
	s.rollouts = rollout.New(rollout.Config{
		Registry: s.registry, Platform: s.platform, Workload: s.workload, Since: s.activity.Since, Logger: s.Logger,
	})
	s.signer = storage.NewSigner(s.derive("objects"))
	s.jobs = batch.New(batch.Config{
		Bucket: s.Bucket, Locations: s.locations, Uploads: s.uploads, Signer: s.signer,
		Platform: s.platform, Versions: s.registry, Key: s.derive("jobs"),
		Name: s.Name, Server: cmp.Or(s.InternalURL, "http://"+s.internal.Addr().String()), Retention: s.Retention, ThroughServer: s.ThroughServer, Logger: s.Logger,
	})
	s.api = api.New(api.Config{
		Registry: s.registry, Platform: s.platform, Gateway: s.gateway, Activity: s.activity, Rollouts: s.rollouts, Jobs: s.jobs, Uploads: s.uploads, MaxUpload: s.MaxUpload, Bucket: s.Bucket,
		Adopt: s.artifacts.adopt, Artifacts: s.Artifacts, Image: s.Image, Card: (&cards{artifacts: s.artifacts, image: s.ImageFile}).read, Ready: s.ready, Auth: s.Auth, Version: s.Version, Hosts: s.Hosts, Logger: s.Logger,
		Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
	})
	s.web, err = web.New(web.Config{
		API: s.api, Guard: s.api.Guard, Who: s.who, Key: s.derive("web"), Version: s.Version, Logger: s.Logger,
		Provider: s.Provider, PublicURL: s.PublicURL,
	})
	if err != nil {
		return err
	}
	if s.Models != "" {
		s.follower = &pipeline.Follower{
			Root: s.Models, Validator: s.Validator, Target: target{s}, Published: s.published,
			Images: s.Assembly, Logger: s.Logger,
		}
	} else if s.Repository.URL != "" {
		s.follower = &pipeline.RepositoryFollower{
			Mirror: s.Repository, Interval: s.RepositoryInterval, Logger: s.Logger,
			Publisher: &pipeline.Publisher{
				Server: target{s}, Validator: s.Validator, Images: s.Assembly, Scratch: s.Validator.Scratch, Progress: s.progress,
			},
		}
	}
	return nil
}

// who says whose token it is, for the page.
func (s *Server) who(ctx context.Context, token string) (string, error) {
	if s.Auth == nil {
		return "", nil
	}
	identity, err := s.Auth.Check(ctx, token, auth.Action{})
	if err != nil {
		return "", err
	}
	return identity.Name, nil
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
	return platform.Workload{Version: version, Spec: parsed, Key: s.agentKey(ref)}, nil
}

// agentKey is what a version's agents want of their callers.
func (s *Server) agentKey(ref platform.Ref) string {
	return hex.EncodeToString(s.derive(fmt.Sprintf("agent %s %d", ref.Model, ref.Version)))
}

// load tells what callers want of this server's versions.
func (s *Server) load() []scaler.Load {
	own := s.gateway.Load()
	loads := make([]scaler.Load, len(own))
	for i, load := range own {
		loads[i] = scaler.Load(load)
	}
	return loads
}

// underWay is load, as activity wants it.
func (s *Server) underWay() []activity.Load {
	own := s.gateway.Load()
	loads := make([]activity.Load, len(own))
	for i, load := range own {
		loads[i] = activity.Load{Ref: load.Ref, InFlight: load.InFlight, Waiting: load.Waiting}
	}
	return loads
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
	group.Go(func() error {
		return s.Elector.Run(failed, func(ctx context.Context) error { return s.lead(ctx, published) })
	})

	rest := &http.Server{Handler: s.web, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug)}
	public := http1.New(http1.Config{Takes: api.IsPrediction, Handler: s.api, Rest: rest, Logger: s.Logger})
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
	s.api.Drain()
	drained := errors.Join(public.Shutdown(deadline), s.gateway.Shutdown(deadline))
	stopLoops()
	s.activity.Close()
	private.Close()
	err := group.Wait()
	closed := errors.Join(s.driver.Close(), s.Store.Close(), s.Bucket.Close())
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, drained, closed)
}

// lead runs what one server alone may run, until ctx ends.
func (s *Server) lead(ctx context.Context, published func(problems map[string]error)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.scaler.Run(ctx) })
	group.Go(func() error { return s.rollouts.Run(ctx) })
	group.Go(func() error { return s.jobs.Run(ctx) })
	if s.Prune {
		group.Go(func() error { return s.keepStoreSmall(ctx) })
	}
	if s.follower != nil {
		group.Go(func() error {
			if err := s.registry.WaitSynced(ctx); err != nil {
				return err
			}
			return s.follower.Run(ctx, published)
		})
	}
	return group.Wait()
}

// httpServer is what serves on a listener until it is shut down.
type httpServer interface {
	Serve(listener net.Listener) error
}

func serve(server httpServer, listener net.Listener) error {
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// internalHandler is what agents may call, each call with a token or a signed
// address of its own, and what a cluster asks to know how the server is.
func (s *Server) internalHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/internal/jobs/", s.jobs.Handler())
	mux.Handle("/internal/objects/", storage.Handler(s.signer, s.Bucket, s.locations))
	mux.Handle(peers.PathLoad, peers.Handler(s.derive("peers"), s.load))
	mux.Handle(activity.Path, s.activity.Handler())
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.ready(); err != nil {
			problem.Write(w, err)
		}
	})
	return mux
}
