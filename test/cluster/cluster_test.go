package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"modelmanager.dev/test/cluster"
)

// TestDeployment: a pod runs a program that an image volume brings, as the
// agent comes into the pods of models, and answers.
func TestDeployment(t *testing.T) {
	c := cluster.Connect(t)
	namespace := c.Namespace(t)
	labels := map[string]string{"app": "probe"}
	pod := probePod(c, pushProbe(t, c))
	pod.Labels = labels
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1,
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}},
	}
	_, err := c.Client.AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pod},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, time.Minute, "both replicas are ready", func(ctx context.Context) (bool, string, error) {
		deployment, err := c.Client.AppsV1().Deployments(namespace).Get(ctx, "probe", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return deployment.Status.ReadyReplicas == 2, fmt.Sprintf("%d ready", deployment.Status.ReadyReplicas), nil
	})
	pods, err := c.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=probe"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		answer, err := c.Client.CoreV1().Pods(namespace).ProxyGet("http", pod.Name, "8080", "/", nil).DoRaw(t.Context())
		if want := pod.Name + " as 65532"; err != nil || string(answer) != want {
			t.Errorf("the pod answered %q, %v; want %q", answer, err, want)
		}
	}
}

// TestNames: pods find services by name, and nothing beyond the cluster has one.
func TestNames(t *testing.T) {
	c := cluster.Connect(t)
	namespace := c.Namespace(t)
	labels := map[string]string{"app": "probe"}
	template := probePod(c, pushProbe(t, c))
	if _, err := c.Client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: labels}, Spec: template.Spec,
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "named"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"named", "named." + namespace, "named." + namespace + ".svc.cluster.local"} {
		cluster.Eventually(t, time.Minute, name+" is found", func(ctx context.Context) (bool, string, error) {
			answer, err := fetch(ctx, c, namespace, "probe", "http://"+name+"/")
			return answer == "reached", answer, err
		})
	}
	if answer, err := fetch(t.Context(), c, namespace, "probe", "http://www.example.org/"); err != nil || !strings.Contains(answer, "lookup www.example.org") {
		t.Errorf("of a name beyond the cluster: %q (%v)", answer, err)
	}
}

// TestIndexedJob: every part of a job runs, and its log can be read.
func TestIndexedJob(t *testing.T) {
	c := cluster.Connect(t)
	namespace := c.Namespace(t)
	pod := probePod(c, pushProbe(t, c), "job")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	mode := batchv1.IndexedCompletion
	_, err := c.Client.BatchV1().Jobs(namespace).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec:       batchv1.JobSpec{Completions: new(int32(4)), Parallelism: new(int32(2)), CompletionMode: &mode, Template: pod},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 2*time.Minute, "the job is done", func(ctx context.Context) (bool, string, error) {
		job, err := c.Client.BatchV1().Jobs(namespace).Get(ctx, "probe", metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return job.Status.CompletionTime != nil, fmt.Sprintf("%d of 4 parts", job.Status.Succeeded), nil
	})
	pods, err := c.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=probe"})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, pod := range pods.Items {
		text, err := c.Client.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, strings.TrimSpace(string(text)))
	}
	slices.Sort(said)
	if want := []string{"index 0", "index 1", "index 2", "index 3"}; !slices.Equal(said, want) {
		t.Errorf("the job's pods said %q, want %q", said, want)
	}
}

// pushProbe builds the probe, and pushes it as an image of nothing else.
func pushProbe(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "probe")
	command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./probe")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("building the probe: %v\n%s", err, output)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return c.PushImage(t, cluster.Image{Name: "probe", Files: map[string]cluster.File{"/probe": {Content: content, Mode: 0o755}}})
}

// probePod is a pod on the base image for programs in Go, with the probe from
// an image volume; as restricted as the pods of models.
func probePod(c *cluster.Cluster, image string, arguments ...string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		AutomountServiceAccountToken:  new(bool),
		EnableServiceLinks:            new(bool),
		TerminationGracePeriodSeconds: new(int64(1)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Volumes: []corev1.Volume{{
			Name:         "probe",
			VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}},
		}},
		Containers: []corev1.Container{{
			Name:         "probe",
			Image:        c.Base("static"),
			Command:      append([]string{"/mm-agent/probe"}, arguments...),
			VolumeMounts: []corev1.VolumeMount{{Name: "probe", MountPath: "/mm-agent"}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
			},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(bool),
				ReadOnlyRootFilesystem:   new(true),
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}}
}

// TestKill: a part that is killed is gone, and comes back with the end of a
// test. This one does no harm to whatever else runs: rules stay as they are.
func TestKill(t *testing.T) {
	c := cluster.Connect(t)
	healthy := func(ctx context.Context) (bool, string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10256/healthz", nil)
		if err != nil {
			return false, "", err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, "", err
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status, nil
	}
	killed := t.Run("killed", func(t *testing.T) {
		c.Kill(t, "kube-proxy")
		cluster.Eventually(t, 5*time.Second, "kube-proxy is gone", func(ctx context.Context) (bool, string, error) {
			_, standing, err := healthy(ctx)
			return err != nil, standing, nil
		})
	})
	if killed && c.Ours() {
		cluster.Eventually(t, 30*time.Second, "kube-proxy is back", healthy)
	}
}
