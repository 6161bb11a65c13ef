// Package kube keeps a registry's records as custom resources of a Kubernetes
// cluster, all in one namespace: a Model per model, and a ModelVersion,
// <model>-<number>, per version. A number has no hyphen, so that two versions
// never share a name: a-1-2 is version 2 of the model a-1, and nothing else.
//
// A Model is small and flat, because servers list and watch all of them; a
// ModelVersion holds the spec, and is read when somebody asks for it. Neither
// has labels, which would cost an apiserver a fifth more memory: versions are
// selected by a field, spec.model.
//
// People and their tools may write the same objects. A Model that is applied
// without traffic claims its name; what it says of the model stays as long as
// the tool that applied it says so. Where such a tool sets the traffic, writes
// that change it fail with CodeManagedElsewhere. A setting made by hand
// (kubectl edit) counts as a setting like any other.
package kube

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
)

// Manager is the field manager of every write.
const Manager = "model-manager"

// The group of the two kinds, and its version.
const (
	group   = "modelmanager.dev"
	version = "v1alpha1"
)

// Options of a Store.
type Options struct {
	Namespace string        // of the objects; required
	Logger    *slog.Logger  // told of objects that can't be read; default slog.Default
	Timeout   time.Duration // of one call to the cluster, other than a watch; default 10s
}

// Store is a registry.Store in a Kubernetes cluster.
type Store struct {
	client  *rest.RESTClient
	options Options
	closed  atomic.Bool
	roster  roster
	seen    seen
}

// Open opens the store in a cluster, whose namespace and kinds must exist by
// the time of the first call. It doesn't call the cluster.
func Open(config *rest.Config, options Options) (*Store, error) {
	if options.Namespace == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "opening the registry on Kubernetes: it needs a namespace")
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Timeout <= 0 {
		options.Timeout = 10 * time.Second
	}
	client, err := rest.RESTClientFor(clientConfig(config))
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "opening the registry on Kubernetes: %w", err)
	}
	return &Store{client: client, options: options}, nil
}

// clientConfig sets a configuration up for the two kinds. The cluster guards
// itself with priority and fairness: the client's own limit of five requests a
// second is lifted.
func clientConfig(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.APIPath = "/apis"
	config.GroupVersion = &schema.GroupVersion{Group: group, Version: version}
	config.QPS = -1
	config.RateLimiter = nil
	config.ContentType = runtime.ContentTypeJSON
	config.AcceptContentTypes = runtime.ContentTypeJSON
	if config.UserAgent == "" {
		config.UserAgent = Manager
	}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // errors are of kind Status
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return config
}

// begin checks that a call can be made, and bounds its time.
func (s *Store) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := s.check(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, errTimeout)
	return ctx, cancel, nil
}

// errTimeout is why a context ends when the cluster was too slow, rather than
// the caller impatient.
var errTimeout = errors.New("the Kubernetes API took too long")

func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return failedIn(ctx, "using the registry on Kubernetes", err)
	}
	if s.closed.Load() {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "using the registry on Kubernetes: it is closed")
	}
	return nil
}

// Close implements registry.Store. Connections are shared with whoever else
// reaches the cluster with the same configuration, and end when idle.
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}
