package product_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/test/cluster"
)

// nginx is an nginx in a pod beside the server's, before one pod of a model.
type nginx struct {
	pod *corev1.Pod
	url string
}

const nginxLabel = "nginx"

// startNginx makes the image from this machine's nginx, and starts it. It goes
// when the test ends.
func (i *installation) startNginx(t *testing.T, upstream, key string) nginx {
	t.Helper()
	ctx := t.Context()
	cleanUp := func(remove func(context.Context) error) {
		t.Cleanup(func() { _ = remove(context.Background()) })
	}
	config, err := i.Client.CoreV1().ConfigMaps(system).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "nginx-"},
		Data:       map[string]string{"nginx.conf": nginxConfig(upstream, key)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cleanUp(func(ctx context.Context) error {
		return i.Client.CoreV1().ConfigMaps(system).Delete(ctx, config.Name, metav1.DeleteOptions{})
	})
	// It may call models' pods, as the server may.
	policy, err := i.Client.NetworkingV1().NetworkPolicies(models).Create(ctx, &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "from-nginx-"},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": system}},
				PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"measured": nginxLabel}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cleanUp(func(ctx context.Context) error {
		return i.Client.NetworkingV1().NetworkPolicies(models).Delete(ctx, policy.Name, metav1.DeleteOptions{})
	})
	pod, err := i.Client.CoreV1().Pods(system).Create(ctx, nginxPod(i.PushImage(t, nginxImage(t)), config.Name), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cleanUp(func(ctx context.Context) error {
		return i.Client.CoreV1().Pods(system).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	})
	cluster.Eventually(t, time.Minute, "nginx answers for the model", func(ctx context.Context) (bool, string, error) {
		if pod, err = i.Client.CoreV1().Pods(system).Get(ctx, pod.Name, metav1.GetOptions{}); err != nil || pod.Status.PodIP == "" {
			return false, "it has no address", err
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+pod.Status.PodIP+":8080/predict", strings.NewReader(`{"rows": []}`))
		if err != nil {
			return false, "", err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err.Error(), nil
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		// The agent's own answer, whatever it says of no rows, and no gateway's.
		return response.StatusCode < 500 && response.StatusCode != http.StatusUnauthorized, fmt.Sprintf("%s %s", response.Status, answer), err
	})
	return nginx{pod: pod, url: "http://" + pod.Status.PodIP + ":8080/predict"}
}

func nginxConfig(upstream, key string) string {
	return fmt.Sprintf(`daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  upstream model { server %s; keepalive 64; }
  server {
    listen 8080;
    location / {
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer %s";
    }
  }
}
`, upstream, key)
}

func nginxPod(image, config string) *corev1.Pod {
	yes, no, user := true, false, int64(65532)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "nginx-", Labels: map[string]string{"measured": nginxLabel}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			SecurityContext:              &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "nginx", Image: image, Command: []string{"/usr/sbin/nginx", "-e", "stderr", "-c", "/config/nginx.conf"},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
				Resources:       corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}, Limits: corev1.ResourceList{"memory": resource.MustParse("128Mi")}},
				VolumeMounts:    []corev1.VolumeMount{{Name: "config", MountPath: "/config"}, {Name: "scratch", MountPath: "/tmp"}},
			}},
			Volumes: []corev1.Volume{
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: config}}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
		},
	}
}

// nginxImage is this machine's nginx, with the libraries that it is linked to.
func nginxImage(t *testing.T) cluster.Image {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("nginx, which is measured beside the server, isn't here (scripts/setup bench installs it): %v", err)
	}
	linked, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]cluster.File{}
	add := func(to, from string, mode os.FileMode) {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		files[to] = cluster.File{Content: content, Mode: mode}
	}
	add("/usr/sbin/nginx", program, 0o755)
	for line := range bytes.Lines(linked) {
		// libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x…)
		if fields := strings.Fields(string(line)); len(fields) >= 3 && fields[1] == "=>" {
			add("/usr/lib/x86_64-linux-gnu/"+fields[0], fields[2], 0o644)
		}
	}
	return cluster.Image{Name: "nginx", Base: "python", Files: files}
}
