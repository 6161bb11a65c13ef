package kube

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// Options of a Driver.
type Options struct {
	// Config says how to reach the API server, and as whom. It bounds how long a
	// question may take, as kube.Connect's does: the driver waits for answers.
	Config *rest.Config
	// Namespace is that of the models; it exists.
	Namespace string
	// Key derives the key of a version's agents, so that replicas that another
	// server started can be spoken to.
	Key func(platform.Ref) string

	// AgentImage is the reference of the image that has the program mm-agent
	// at its root, and AgentSource how it comes into pods.
	AgentImage  string
	AgentSource AgentSource

	// What an operator wants of every pod.
	NodeSelector       map[string]string
	Tolerations        []corev1.Toleration
	PriorityClass      string // of replicas
	BatchPriorityClass string // of tasks
	RuntimeClass       string // a sandbox such as gvisor
	ImagePullSecrets   []string
	// Queue is the Kueue queue that jobs wait in; "": they don't.
	Queue string

	// Resolve looks the addresses of a host up that models may connect to; default:
	// as this process does.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	// Stuck is how long a pod may prepare, or a job be without pods, before the
	// cluster's events are asked why; default 3s.
	Stuck time.Duration
	// Lost is how long a task's pod may take to end beyond its grace, before its
	// node is taken to be lost and the task is run elsewhere; default 1m.
	Lost   time.Duration
	Logger *slog.Logger // default slog.Default
}

// AgentSource says how the agent comes into a pod.
type AgentSource string

// The ways. An image volume needs Kubernetes 1.36; an init container that
// copies the agent works everywhere, and costs a second of every start.
const (
	AgentAuto  AgentSource = "" // by the version of the API server
	AgentImage AgentSource = "image"
	AgentInit  AgentSource = "init"
)

// ParseTolerations reads tolerations that are written as kubectl taint has taints.
func ParseTolerations(texts []string) ([]corev1.Toleration, error) {
	var list []corev1.Toleration
	for _, text := range texts {
		taint, effect, _ := strings.Cut(text, ":")
		key, value, valued := strings.Cut(taint, "=")
		switch t := (corev1.Toleration{Key: key, Value: value, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffect(effect)}); {
		case key == "" || effect != "" && t.Effect != corev1.TaintEffectNoSchedule && t.Effect != corev1.TaintEffectPreferNoSchedule && t.Effect != corev1.TaintEffectNoExecute:
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
				"the toleration %q is none; write KEY, KEY=VALUE or either with :NoSchedule, :PreferNoSchedule or :NoExecute", text)
		default:
			if valued {
				t.Operator = corev1.TolerationOpEqual
			}
			list = append(list, t)
		}
	}
	return list, nil
}

func (o *Options) complete() error {
	switch {
	case o.Config == nil:
		return modelmanager.Errorf(modelmanager.CodeInternal, "the Kubernetes platform needs to know how to reach the API server")
	case o.Namespace == "" || o.AgentImage == "":
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the Kubernetes platform needs the namespace of the models and the reference of the agent's image")
	case o.AgentSource != AgentAuto && o.AgentSource != AgentImage && o.AgentSource != AgentInit:
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the agent can't come into pods by %q; write %q or %q", o.AgentSource, AgentImage, AgentInit)
	}
	if o.Key == nil {
		o.Key = func(platform.Ref) string { return "" }
	}
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Stuck <= 0 {
		o.Stuck = 3 * time.Second
	}
	if o.Lost <= 0 {
		o.Lost = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}
