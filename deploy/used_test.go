package deploy_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	authkube "modelmanager.dev/internal/auth/kube"
	"modelmanager.dev/internal/kube"
	"modelmanager.dev/internal/kubetest"
	leaderkube "modelmanager.dev/internal/leader/kube"
	peerskube "modelmanager.dev/internal/peers/kube"
	"modelmanager.dev/internal/platform"
	platformkube "modelmanager.dev/internal/platform/kube"
	"modelmanager.dev/internal/platform/platformtest"
	"modelmanager.dev/internal/registry"
	registrykube "modelmanager.dev/internal/registry/kube"
	"modelmanager.dev/internal/registry/registrytest"
	"modelmanager.dev/test/cluster"
)

const (
	systemNamespace = "modelmanager-system"
	modelsNamespace = "modelmanager-models"
	serverAccount   = "system:serviceaccount:" + systemNamespace + ":model-manager"
)

// TestEveryRightIsUsed lets all that the server is made of work on an API server
// that gives it the rights of the manifests, and no other. One that is missing
// fails the work; one that nothing asks for is not needed.
func TestEveryRightIsUsed(t *testing.T) {
	c := kubetest.Start(t)
	admin, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	given := grant(t, admin)
	if err := registrykube.InstallCRDs(t.Context(), c.Config()); err != nil {
		t.Fatal(err)
	}
	used := &ledger{uses: map[string]bool{}, kindOf: map[string]string{systemNamespace: "system", modelsNamespace: "models"}}
	server := c.Config()
	server.Impersonate = rest.ImpersonationConfig{
		UserName: serverAccount,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + systemNamespace, "system:authenticated"},
	}
	server.Wrap(func(next http.RoundTripper) http.RoundTripper { return used.over(next) })

	allowed(t, admin, modelsNamespace)
	useServer(t, server)
	useRegistry(t, admin, server, used)
	usePlatform(t, admin, server)

	if len(used.refused) > 0 {
		t.Errorf("the server lacks rights: %s", strings.Join(slices.Compact(slices.Sorted(slices.Values(used.refused))), ", "))
	}
	var asked []string
	for use := range used.uses {
		asked = append(asked, use)
	}
	slices.Sort(asked)
	if diff := cmp.Diff(asked, given); diff != "" {
		t.Errorf("the rights differ from those that are used (-used +given):\n%s", diff)
	}
}

// grant makes the namespaces, roles and bindings of the manifests, and returns
// all that they let the server do.
func grant(t *testing.T, admin kubernetes.Interface) []string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{systemNamespace, modelsNamespace} {
		_, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		must(err)
	}
	text, err := os.ReadFile(filepath.Join("kustomize", "base", "rights.yaml"))
	must(err)
	kinds := map[string]string{systemNamespace: "system", modelsNamespace: "models", "": "cluster"}
	uses := map[string]bool{}
	add := func(namespace string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						uses[use(kinds[namespace], verb, group, resource)] = true
					}
				}
			}
		}
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var object metav1.TypeMeta
		must(yaml.Unmarshal([]byte(document), &object))
		read := func(into any) { must(yaml.UnmarshalStrict([]byte(document), into)) }
		switch object.Kind {
		case "ServiceAccount":
		case "Role":
			var role rbacv1.Role
			read(&role)
			add(role.Namespace, role.Rules)
			_, err := admin.RbacV1().Roles(role.Namespace).Create(t.Context(), &role, metav1.CreateOptions{})
			must(err)
		case "RoleBinding":
			var binding rbacv1.RoleBinding
			read(&binding)
			_, err := admin.RbacV1().RoleBindings(binding.Namespace).Create(t.Context(), &binding, metav1.CreateOptions{})
			must(err)
		case "ClusterRole":
			var role rbacv1.ClusterRole
			read(&role)
			add("", role.Rules)
			_, err := admin.RbacV1().ClusterRoles().Create(t.Context(), &role, metav1.CreateOptions{})
			must(err)
		case "ClusterRoleBinding":
			var binding rbacv1.ClusterRoleBinding
			read(&binding)
			_, err := admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &binding, metav1.CreateOptions{})
			must(err)
		default:
			t.Fatalf("rights.yaml has a %s", object.Kind)
		}
	}
	var all []string
	for one := range uses {
		all = append(all, one)
	}
	slices.Sort(all)
	return all
}

// use is one right, in words.
func use(where, verb, group, resource string) string {
	if group != "" {
		resource += "." + group
	}
	return fmt.Sprintf("%s: %s %s", where, verb, resource)
}

// ledger notes what is asked of an API server.
type ledger struct {
	mu      sync.Mutex
	uses    map[string]bool
	refused []string
	kindOf  map[string]string // of namespaces
}

type noting struct {
	*ledger
	next http.RoundTripper
}

func (l *ledger) over(next http.RoundTripper) http.RoundTripper { return noting{l, next} }

func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(r)
	n.mu.Lock()
	defer n.mu.Unlock()
	if what := n.read(r); what != "" {
		n.uses[what] = true
		if err == nil && r.Method == http.MethodPatch && response.StatusCode == http.StatusCreated {
			n.uses[strings.Replace(what, " patch ", " create ", 1)] = true // an apply that made it
		}
		if err == nil && response.StatusCode == http.StatusForbidden {
			n.refused = append(n.refused, what)
		}
	}
	return response, err
}

// read makes of a request what Kubernetes' authorizer makes of it; "" of one
// that needs no right of the manifests', such as for the server's version.
func (l *ledger) read(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group, where := "", "cluster"
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		group, parts = parts[1], parts[3:]
	default:
		return ""
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		where, parts = l.kindOf[parts[1]], parts[2:]
	}
	named := len(parts) > 1
	resource := parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	verb := map[string]string{http.MethodGet: "list", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	switch {
	case verb == "list" && named:
		verb = "get"
	case verb == "list" && r.URL.Query().Get("watch") != "":
		verb = "watch"
	}
	return use(where, verb, group, resource)
}

// oldServer is an API server that can't send a list as a watch.
type oldServer struct{ next http.RoundTripper }

func (s oldServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("sendInitialEvents") == "" {
		return s.next.RoundTrip(r)
	}
	status := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden for watch"}`
	return &http.Response{
		StatusCode: http.StatusUnprocessableEntity, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(status)), Request: r,
	}, nil
}

// useServer lets the parts work that find the server's key, its rank and its
// peers, and that say who calls.
func useServer(t *testing.T, config *rest.Config) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	for range 2 { // made, and read
		if _, err := kube.Key(t.Context(), config, systemNamespace, "model-manager-key"); err != nil {
			t.Error(err)
		}
	}
	elector, err := leaderkube.New(config, leaderkube.Options{
		Namespace: systemNamespace, Identity: "one", Lease: 3 * time.Second, Renew: 2 * time.Second, Retry: 100 * time.Millisecond, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	led := false
	err = elector.Run(ctx, func(context.Context) error {
		led = true
		cancel()
		return nil
	})
	if err != nil || !led {
		t.Errorf("leading: %v, %v", led, err)
	}
	listing := rest.CopyConfig(config)
	listing.Wrap(func(next http.RoundTripper) http.RoundTripper { return oldServer{next} })
	others, err := peerskube.New(listing, peerskube.Options{Namespace: systemNamespace, Selector: "app.kubernetes.io/name=model-manager", Self: "one", Port: 8081})
	if err != nil {
		t.Fatal(err)
	}
	follow(t, others.Run, func() bool {
		_, err := others.Peers(t.Context())
		return err == nil
	})
	rights, err := authkube.New(config, authkube.Options{Namespace: modelsNamespace})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rights.Authenticate(t.Context(), "nobody's"); modelmanager.CodeOf(err) != modelmanager.CodeUnauthenticated {
		t.Errorf("a token that is nobody's: %v", err)
	}
	if _, err := rights.Authorize(t.Context(), auth.Identity{Name: "somebody"}, auth.Action{Verb: auth.Predict, Model: "m"}); err != nil {
		t.Error(err)
	}
}

// follow runs something until a condition holds.
func follow(t *testing.T, run func(context.Context) error, until func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	cluster.Eventually(t, time.Minute, "it is known", func(context.Context) (bool, string, error) { return until(), "", nil })
	cancel()
	<-ended
}

// useRegistry runs the registry's suite, in namespaces with the rights of the
// models'.
func useRegistry(t *testing.T, admin kubernetes.Interface, config *rest.Config, used *ledger) {
	t.Helper()
	role, err := admin.RbacV1().Roles(modelsNamespace).Get(t.Context(), "model-manager", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding, err := admin.RbacV1().RoleBindings(modelsNamespace).Get(t.Context(), "model-manager", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("registry", func(t *testing.T) {
		registrytest.Run(t, registrytest.Driver{
			New: func(t *testing.T) registrytest.Open {
				made, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "registry-"}}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				namespace := made.Name
				used.mu.Lock()
				used.kindOf[namespace] = "models"
				used.mu.Unlock()
				copied := metav1.ObjectMeta{Name: role.Name}
				if _, err := admin.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: copied, Rules: role.Rules}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				if _, err := admin.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: copied, RoleRef: binding.RoleRef, Subjects: binding.Subjects}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				allowed(t, admin, namespace)
				return func(t *testing.T) registry.Store {
					store, err := registrykube.Open(config, registrykube.Options{Namespace: namespace})
					if err != nil {
						t.Fatal(err)
					}
					return store
				}
			},
			Shared: true,
		})
	})
}

// allowed waits until the API server has heard of the rights in a namespace.
func allowed(t *testing.T, admin kubernetes.Interface, namespace string) {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               serverAccount,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "create", Group: "modelmanager.dev", Resource: "models"},
	}}
	cluster.Eventually(t, time.Minute, "the server has its rights in "+namespace, func(ctx context.Context) (bool, string, error) {
		answer, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return false, "", err
		}
		return answer.Status.Allowed, answer.Status.Reason, nil
	})
}

// usePlatform runs a version and a job. There is no node: the test makes the
// pods that there would be, and their troubles.
func usePlatform(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	t.Helper()
	driver, err := platformkube.New(platformkube.Options{
		Config: config, Namespace: modelsNamespace, AgentImage: "registry.example.org/agent:1", Stuck: 10 * time.Millisecond, Lost: time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	workload := platformtest.NewWorkload(t, "churn", platformtest.Behaviour{}, modelmanager.Artifact{Digest: "sha256:11", Image: "registry.example.org/churn@sha256:11"})
	workload.Spec.Network = []string{"192.0.2.1:443"}
	must(driver.Scale(ctx, workload, platform.AtLeastOne))
	must(driver.Scale(ctx, workload, platform.AtLeastOne)) // it is there
	must(driver.Scale(ctx, workload, 2))
	run := platform.JobRun{Job: "j", Step: platform.StepShards, Workload: workload, Count: 1, Parallelism: 1, Timeout: time.Second}
	must(driver.StartJob(ctx, run))
	must(driver.StartJob(ctx, run)) // it is there
	impossible := run
	wrong := *workload.Spec
	wrong.Identity = "no account's name"
	impossible.Job, impossible.Workload.Spec = "impossible", &wrong
	if err := driver.StartJob(ctx, impossible); err == nil {
		t.Error("a job with an impossible account was started")
	}
	deployment, err := admin.AppsV1().Deployments(modelsNamespace).Get(ctx, "churn-1", metav1.GetOptions{})
	must(err)
	job, err := admin.BatchV1().Jobs(modelsNamespace).Get(ctx, "j-"+string(platform.StepShards), metav1.GetOptions{})
	must(err)
	pods := admin.CoreV1().Pods(modelsNamespace)
	make := func(name string, template corev1.PodTemplateSpec, change func(*corev1.Pod), status string) {
		t.Helper()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: template.Labels, Annotations: map[string]string{}}, Spec: template.Spec}
		pod.Spec.NodeName = "node"
		change(pod)
		_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
		must(err)
		_, err = pods.Patch(ctx, name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status")
		must(err)
	}
	const ran = `"containerStatuses":[{"name":"model","image":"i","imageID":"i","ready":false,"restartCount":0,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]`
	make("preparing", deployment.Spec.Template, func(*corev1.Pod) {}, `{"status":{"conditions":[{"type":"PodScheduled","status":"True"}]}}`)
	for i := range 6 { // more than are kept
		make(fmt.Sprintf("evicted-%d", i), deployment.Spec.Template, func(*corev1.Pod) {}, `{"status":{"phase":"Failed","reason":"Evicted",`+ran+`}}`)
	}
	make("lost", job.Spec.Template, func(pod *corev1.Pod) {
		pod.Labels[batchv1.ControllerUidLabel] = string(job.UID)
		pod.Annotations[batchv1.JobCompletionIndexAnnotation] = "0"
		pod.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}, `{"status":{"phase":"Running",`+ran+`}}`)
	must(pods.Delete(ctx, "lost", metav1.DeleteOptions{}))

	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	watches.Go(func() { _ = driver.WatchReplicas(watching, func(platform.ReplicaEvent) {}) })
	watches.Go(func() { _ = driver.WatchJobs(watching, func(platform.JobEvent) {}) })
	cluster.Eventually(t, time.Minute, "evicted pods are pruned, the lost one is given up, and the job is ended, since it ran for too long", func(ctx context.Context) (bool, string, error) {
		list, err := pods.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "", err
		}
		names := map[string]bool{}
		for _, pod := range list.Items {
			names[pod.Name] = true
		}
		now, err := admin.BatchV1().Jobs(modelsNamespace).Get(ctx, job.Name, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return len(names) == 4 && !names["lost"] && now.Spec.ActiveDeadlineSeconds != nil, fmt.Sprint(names), nil
	})
	logs, err := driver.Logs(ctx, workload.Ref(), 10)
	must(err)
	_, _ = io.Copy(io.Discard, logs)
	stop()
	watches.Wait()
	must(driver.StopJob(ctx, run.Job, run.Step))
	must(driver.Scale(ctx, workload, 0))
}
