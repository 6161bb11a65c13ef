// Package product_test tries Model Manager as it is installed on a cluster: two
// replicas of the server by the manifests of deploy/, images in a registry, an
// S3 server, and callers who have tokens of Kubernetes.
package product_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/client"
	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/test/cluster"
	"modelmanager.dev/test/stores"
)

const (
	system = "modelmanager-system"
	models = "modelmanager-models"
	root   = "../../.."
)

// installation is Model Manager on a cluster, for all tests of the package.
type installation struct {
	*cluster.Cluster
	mm    string // the program
	url   string // of the API
	token string // of somebody who may do everything
	api   *client.Client
	store *stores.Server
	dir   string // of the overlay
	tag   string // of the server's and the agent's image
	base  string // the manifests, below the repository's root
	// images is where models' images go: of this installation alone, since a tag
	// keeps the commit that it was first given for.
	images string
}

// The manifests of today, and those of the release before.
const (
	today    = "deploy/kustomize/base"
	previous = "test/cluster/product/testdata/previous"
)

// install puts Model Manager on the cluster, by some manifests.
func install(t *testing.T, manifests string) *installation {
	t.Helper()
	i := prepare(t, manifests)
	i.writeOverlay(t)
	i.kubectl(t, "create", "namespace", system) // the kustomization makes it, too, but the key comes first
	i.mark(t)
	i.credentials(t)
	i.apply(t)
	i.reach(t)
	return i
}

// prepare makes all that an installation needs beside the cluster. The end of
// the test takes the installation away.
func prepare(t *testing.T, manifests string) *installation {
	t.Helper()
	i := &installation{Cluster: cluster.Connect(t), dir: t.TempDir(), tag: fmt.Sprint("test-", time.Now().Unix()), base: manifests}
	i.images = i.Registry + "/models-" + i.tag
	i.mm = filepath.Join(t.TempDir(), "mm")
	i.command(t, "go", "build", "-o", i.mm, "./cmd/mm")
	i.pushImages(t)
	i.store = stores.S3At(t, i.nodeAddress())

	t.Cleanup(func() { i.uninstall(t) })
	return i
}

// mark says whose installation this is: tests take away none but their own.
func (i *installation) mark(t *testing.T) {
	t.Helper()
	i.kubectl(t, "label", "namespace", system, kubetest.InstalledByTests+"=yes")
}

// credentials gives the server those of its storage.
func (i *installation) credentials(t *testing.T) {
	t.Helper()
	i.kubectl(t, "create", "secret", "generic", "model-manager-storage", "-n", system,
		"--from-literal=AWS_ACCESS_KEY_ID="+stores.AccessKey, "--from-literal=AWS_SECRET_ACCESS_KEY="+stores.SecretKey)
}

// reach waits until the API answers somebody who may do everything.
func (i *installation) reach(t *testing.T) {
	t.Helper()
	i.url = "http://" + i.service(t, system, "model-manager")
	i.token = i.tokenFor(t, "tester", "modelmanager-operator")
	var err error
	if i.api, err = client.New(i.url, client.WithToken(i.token)); err != nil {
		t.Fatal(err)
	}
	i.ready(t)
}

// helm runs helm, with a home of its own.
func (i *installation) helm(t *testing.T, args ...string) {
	t.Helper()
	home := t.TempDir()
	command := i.program(t.Context(), "helm", args...)
	command.Env = append(command.Env, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v\n%s", args[0], err, output)
	}
}

// pushImages makes the images of the server and of the agent.
func (i *installation) pushImages(t *testing.T) {
	t.Helper()
	command := i.program(t.Context(), "scripts/images")
	command.Env = append(command.Env, "REPOSITORY="+i.Registry+"/model-manager", "VERSION="+i.tag, "INSECURE_REGISTRY="+i.Registry)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("scripts/images: %v\n%s", err, output)
	}
}

// nodeAddress is where this machine's servers are reached from pods.
func (i *installation) nodeAddress() string {
	host, _, _ := strings.Cut(i.Registry, ":")
	return host
}

// writeOverlay writes the kustomization, as an operator would write one.
func (i *installation) writeOverlay(t *testing.T) {
	t.Helper()
	base, err := filepath.Abs(filepath.Join(root, i.base))
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(i.dir, base); err != nil {
		t.Fatal(err)
	}
	arguments := []string{
		"--storage=" + i.store.S3URL("mm"), "--agent-image=" + i.Registry + "/model-manager/agent:" + i.tag,
		"--image-prefix=" + i.images, "--insecure-registry=" + i.Registry, "--host=*",
	}
	for _, language := range []string{"python", "r", "java", "static"} {
		arguments = append(arguments, "--base="+language+"="+i.Base(language))
	}
	var text strings.Builder
	fmt.Fprintf(&text, `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s, storage.yaml]
images: [{name: model-manager, newName: %s/model-manager/server, newTag: %s}]
patches:
  - target: {kind: Deployment, name: model-manager}
    patch: |-
`, base, i.Registry, i.tag)
	for _, argument := range arguments {
		fmt.Fprintf(&text, "      - {op: add, path: /spec/template/spec/containers/0/args/-, value: %q}\n", argument)
	}
	i.write(t, "kustomization.yaml", text.String())
	i.write(t, "storage.yaml", fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: jobs-to-storage, namespace: %s}
spec:
  podSelector: {matchExpressions: [{key: modelmanager.dev/job, operator: Exists}]}
  policyTypes: [Egress]
  egress:
    - to: [{ipBlock: {cidr: %s/32}}]
      ports: [{port: %s}]
`, models, i.nodeAddress(), i.store.Address()[strings.LastIndex(i.store.Address(), ":")+1:]))
}

func (i *installation) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(i.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (i *installation) apply(t *testing.T) {
	t.Helper()
	i.kubectl(t, "apply", "--server-side", "-k", i.dir)
}

// ready waits until both replicas of the server are.
func (i *installation) ready(t *testing.T) {
	t.Helper()
	cluster.Eventually(t, 8*time.Minute, "the server is rolled out", func(ctx context.Context) (bool, string, error) {
		d, err := i.Client.AppsV1().Deployments(system).Get(ctx, "model-manager", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		s := d.Status
		standing := fmt.Sprintf("%d updated, %d ready, %d in all", s.UpdatedReplicas, s.ReadyReplicas, s.Replicas)
		return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == 2 && s.ReadyReplicas == 2 && s.Replicas == 2, standing, nil
	})
	// The Service's address follows a moment later, and a connection tried
	// too early hangs.
	cluster.Eventually(t, time.Minute, "the API answers at its Service's address", func(ctx context.Context) (bool, string, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, i.url+"/healthz", nil)
		if err != nil {
			return false, "", err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, "", err
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status, nil
	})
}

// tokenFor makes somebody with one of the ready-made roles.
func (i *installation) tokenFor(t *testing.T, name, role string) string {
	t.Helper()
	ctx := t.Context()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := i.Client.CoreV1().ServiceAccounts(system).Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if role != "" {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: system}},
		}
		if _, err := i.Client.RbacV1().RoleBindings(models).Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"modelmanager"}}}
	request, err := i.Client.CoreV1().ServiceAccounts(system).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// uninstall takes everything away, and says what happened if a test failed.
func (i *installation) uninstall(t *testing.T) {
	if t.Failed() {
		for _, args := range [][]string{
			{"get", "pods,deployments,jobs", "-A", "-o", "wide"},
			{"logs", "-n", system, "-l", "app.kubernetes.io/name=model-manager", "--tail=60", "--prefix"},
			{"get", "events", "-n", models, "--sort-by=.lastTimestamp"},
		} {
			output, _ := i.program(context.Background(), "kubectl", args...).CombinedOutput()
			t.Logf("kubectl %s\n%s", strings.Join(args, " "), tail(output, 12000))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	output, err := i.program(ctx, "kubectl", "delete", "-k", i.dir, "--ignore-not-found", "--timeout=2m").CombinedOutput()
	if err != nil {
		t.Logf("taking the installation away: %v\n%s", err, output)
	}
}

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// program is a command in the repository's root, against the cluster.
func (i *installation) program(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = root
	command.Env = append(os.Environ(), "KUBECONFIG="+i.Kubeconfig(), "MM_SERVER="+i.url, "MM_TOKEN="+i.token)
	return command
}

func (i *installation) command(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := i.program(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return string(output)
}

func (i *installation) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return i.command(t, "kubectl", args...)
}

// run runs mm, and returns what it wrote.
func (i *installation) run(t *testing.T, args ...string) string {
	t.Helper()
	command := i.program(t.Context(), i.mm, args...)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("mm %s: %v\n%s%s", strings.Join(args, " "), err, &out, &problems)
	}
	return out.String()
}

// publish publishes a folder. The test's registry has no TLS.
func (i *installation) publish(t *testing.T, args ...string) {
	t.Helper()
	t.Log(i.run(t, append([]string{"publish", "--insecure-registry", i.Registry}, args...)...))
}

// status asks the API for something with a token, and returns the status.
func (i *installation) status(t *testing.T, token, method, path string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, i.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}
