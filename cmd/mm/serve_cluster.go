package main

import (
	"net"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"modelmanager.dev"
	"modelmanager.dev/internal/cli"
	"modelmanager.dev/internal/image"
)

// clusterOptions are the flags of mm serve --platform kubernetes.
type clusterOptions struct {
	kubeconfig string
	namespace  string
	pod        string
	selector   string
	keySecret  string

	internalListen string
	internalURL    string

	agentImage    string
	agentSource   string
	imagePrefixes []string
	imagePlatform string
	bases         map[string]string
	insecure      []string
	pullSecrets   []string
	secrets       cli.Secrets
	nodeSelector  map[string]string
	tolerations   []string
	runtimeClass  string
	priority      string
	batchPriority string
	queue         string
	storageURLs   string

	audience     string
	oidcIssuer   string
	oidcAudience string
	oidcName     string
	oidcGroups   string

	oidcNamePrefix   string
	oidcGroupsPrefix string
	oidcCA           string

	publicURL  string
	oidcTitle  string
	oidcSecret string
	oidcScopes []string
}

func (o *clusterOptions) flags(flags *pflag.FlagSet) {
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "on Kubernetes: a file that says how to reach the cluster; default: the pod's own service account")
	flags.StringVar(&o.namespace, "namespace", "modelmanager-models", "on Kubernetes: where models are, and run")
	flags.StringVar(&o.pod, "pod", "", "on Kubernetes: NAMESPACE/NAME of this server's own pod")
	flags.StringVar(&o.selector, "pod-selector", "app.kubernetes.io/name=model-manager", "on Kubernetes: labels of the pods of the server")
	flags.StringVar(&o.keySecret, "key-secret", "model-manager-key", "on Kubernetes: the Secret, in the server's namespace, with the key from which tokens derive; made if it isn't there")
	flags.StringVar(&o.internalListen, "internal-listen", ":8081", "on Kubernetes: where agents call the server")
	flags.StringVar(&o.internalURL, "internal-url", "", "on Kubernetes: how agents reach it")
	flags.StringVar(&o.agentImage, "agent-image", "", "on Kubernetes: the image with the agent, which is brought into models' pods")
	flags.StringVar(&o.agentSource, "agent-source", "", "on Kubernetes: how: image (a volume, from Kubernetes 1.36) or init (a copy); default: by the cluster's version")
	flags.StringSliceVar(&o.imagePrefixes, "image-prefix", nil, "on Kubernetes: repositories that models' images may come from; publishers push to the first")
	flags.StringVar(&o.imagePlatform, "image-platform", "linux/amd64", "on Kubernetes: what models' images are for")
	flags.StringToStringVar(&o.bases, "base", nil, "on Kubernetes: LANGUAGE=IMAGE, the image that publishers put a language's models on")
	flags.StringSliceVar(&o.insecure, "insecure-registry", nil, "on Kubernetes: host:port of registries without TLS")
	flags.StringSliceVar(&o.pullSecrets, "image-pull-secret", nil, "on Kubernetes: Secrets, in the models' namespace, to pull images with")
	o.secrets.Add(flags, "on Kubernetes, with --models and --repository: ")
	flags.StringToStringVar(&o.nodeSelector, "node-selector", nil, "on Kubernetes: labels of the nodes that models run on")
	flags.StringSliceVar(&o.tolerations, "toleration", nil, "on Kubernetes: KEY[=VALUE][:EFFECT] of taints of nodes that models may run on")
	flags.StringVar(&o.runtimeClass, "runtime-class", "", "on Kubernetes: the RuntimeClass that models run in, such as a sandbox")
	flags.StringVar(&o.priority, "priority-class", "", "on Kubernetes: the PriorityClass of models that answer calls")
	flags.StringVar(&o.batchPriority, "batch-priority-class", "", "on Kubernetes: the PriorityClass of jobs")
	flags.StringVar(&o.queue, "queue", "", "on Kubernetes: the Kueue queue that jobs wait in")
	flags.StringVar(&o.storageURLs, "storage-urls", "signed", "on Kubernetes: how agents of jobs reach the object storage: signed (URLs of its own, where it can) or server (through the server alone)")
	flags.StringVar(&o.audience, "audience", "", "on Kubernetes: the audience that callers' tokens must be for; default modelmanager")
	flags.StringVar(&o.oidcIssuer, "oidc-issuer", "", "on Kubernetes: also take people's ID tokens of this OpenID provider")
	flags.StringVar(&o.oidcAudience, "oidc-client-id", "", "of --oidc-issuer: the audience of its tokens")
	flags.StringVar(&o.oidcName, "oidc-username-claim", "email", "of --oidc-issuer: the claim that is the caller's name")
	flags.StringVar(&o.oidcGroups, "oidc-groups-claim", "groups", "of --oidc-issuer: the claim that has the caller's groups")
	flags.StringVar(&o.oidcNamePrefix, "oidc-username-prefix", "", "of --oidc-issuer: goes before names; default: the issuer and #, but none for email; - is none")
	flags.StringVar(&o.oidcGroupsPrefix, "oidc-groups-prefix", "", "of --oidc-issuer: goes before groups")
	flags.StringVar(&o.oidcCA, "oidc-ca-file", "", "of --oidc-issuer: certificates that vouch for it; default: the system's")
	flags.StringVar(&o.publicURL, "public-url", "", "on Kubernetes: the page's address as browsers know it, such as https://models.example.org; with --oidc-issuer, people sign in there")
	flags.StringVar(&o.oidcTitle, "oidc-provider-name", "", "of --oidc-issuer: what the page calls it; default: its host")
	flags.StringVar(&o.oidcSecret, "oidc-client-secret-file", "", "of --oidc-issuer: a file with the client's secret, if it has one")
	flags.StringSliceVar(&o.oidcScopes, "oidc-scope", nil, "of --oidc-issuer: what signing in asks for beside openid, email and profile, such as groups")
}

// check names every flag that a cluster needs and that isn't there, at once.
func (o *clusterOptions) check() error {
	var missing []string
	for _, flag := range []struct{ name, value string }{
		{"--pod", o.pod}, {"--internal-url", o.internalURL}, {"--agent-image", o.agentImage},
	} {
		if flag.value == "" {
			missing = append(missing, flag.name)
		}
	}
	if len(missing) > 0 {
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"mm serve --platform kubernetes needs %s; deploy/ sets them", strings.Join(missing, ", "))
	}
	if o.storageURLs != "signed" && o.storageURLs != "server" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "--storage-urls is %q; it can be signed or server", o.storageURLs)
	}
	if namespace, name, ok := strings.Cut(o.pod, "/"); !ok || namespace == "" || name == "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "--pod is %q; write NAMESPACE/NAME", o.pod)
	}
	return nil
}

// repository is where publishers push models' images to.
func (o *clusterOptions) repository() string {
	if len(o.imagePrefixes) == 0 {
		return ""
	}
	return o.imagePrefixes[0]
}

// gate lets images of the allowed repositories in.
func (o *clusterOptions) gate() *image.Gate {
	return &image.Gate{Registry: image.NewRegistry(image.Options{Insecure: o.insecure}), Prefixes: o.imagePrefixes, Platform: o.imagePlatform}
}

// internalPort is that of the internal listener, the same in every replica.
func (o *clusterOptions) internalPort() (int, error) {
	_, port, err := net.SplitHostPort(o.internalListen)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && n > 0 {
			return n, nil
		}
	}
	return 0, modelmanager.Errorf(modelmanager.CodeBadRequest, "--internal-listen is %q; write host:port, or :port", o.internalListen)
}

// podNamespace is the server's own namespace.
func (o *clusterOptions) podNamespace() string {
	namespace, _, _ := strings.Cut(o.pod, "/")
	return namespace
}

// podName is the server's own name among its replicas.
func (o *clusterOptions) podName() string {
	_, name, _ := strings.Cut(o.pod, "/")
	return name
}
