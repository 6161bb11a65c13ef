package product_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"modelmanager.dev"
)

const idleModels = 1000

// measureIdle publishes many models that nobody calls, and counts what they
// left in the cluster.
func (i *installation) measureIdle(t *testing.T, table io.Writer) {
	info, err := i.api.Model(t.Context(), examples["java"])
	if err != nil {
		t.Fatal(err)
	}
	version, err := i.api.Version(t.Context(), examples["java"], info.Latest)
	if err != nil {
		t.Fatal(err)
	}
	source, err := name.ParseReference(version.Artifact.Image)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(source, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(version.Artifact.Image, "@")
	before, cpu := i.objects(t), i.serverSeconds(t)
	started := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for n := range idleModels {
		group.Go(func() error {
			model := fmt.Sprintf("idle-%04d", n)
			reference := fmt.Sprintf("%s/%s@%s", i.images, model, digest)
			target, err := name.ParseReference(reference)
			if err != nil {
				return err
			}
			// Its layers are mounted from the model's own repository.
			if err := remote.Write(target, image, remote.WithContext(ctx)); err != nil {
				return err
			}
			_, err = i.api.Publish(ctx, model, modelmanager.PublishRequest{
				Spec: renamed(t, info.Spec, model), Artifact: modelmanager.ArtifactRef{Image: reference},
			}, "")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(started)
	published := i.serverSeconds(t) - cpu
	idle := i.idleSeconds(t)
	var more []string
	after := i.objects(t)
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		if grown := after[kind] - before[kind]; grown != 0 {
			more = append(more, fmt.Sprintf("%d %s", grown, kind))
		}
	}
	fmt.Fprintf(table, "| %d idle models, published in %s by %.1f s of the servers' time: objects that they left | %s | | |\n",
		idleModels, took.Round(time.Second), published, strings.Join(more, ", "))
	fmt.Fprintf(table, "| processor time of both servers, with them idle | %.0f ms a second | | |\n", idle*1000)
}

// idleSeconds is what the servers use in a second in which nobody calls.
func (i *installation) idleSeconds(t *testing.T) float64 {
	t.Helper()
	const span = 20 * time.Second
	before, timer := i.serverSeconds(t), time.NewTimer(span)
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
	return (i.serverSeconds(t) - before) / span.Seconds()
}

// renamed is a spec as another model's.
func renamed(t *testing.T, spec json.RawMessage, model string) json.RawMessage {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(spec, &fields); err != nil {
		t.Error(err)
	}
	fields["name"] = json.RawMessage(fmt.Sprintf("%q", model))
	text, err := json.Marshal(fields)
	if err != nil {
		t.Error(err)
	}
	return text
}

// objects counts what is in the models' namespace, by kind.
func (i *installation) objects(t *testing.T) map[string]int {
	t.Helper()
	client, err := dynamic.NewForConfig(i.Config)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, kind := range []schema.GroupVersionResource{
		{Group: "modelmanager.dev", Version: "v1alpha1", Resource: "models"},
		{Group: "modelmanager.dev", Version: "v1alpha1", Resource: "modelversions"},
		{Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "configmaps"},
		{Version: "v1", Resource: "services"}, {Version: "v1", Resource: "serviceaccounts"},
		{Group: "apps", Version: "v1", Resource: "deployments"}, {Group: "apps", Version: "v1", Resource: "replicasets"},
		{Group: "batch", Version: "v1", Resource: "jobs"}, {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	} {
		list, err := client.Resource(kind).Namespace(models).List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		counts[kind.Resource] = len(list.Items)
	}
	return counts
}
