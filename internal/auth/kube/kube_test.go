package kube_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/auth/kube"
	"modelmanager.dev/internal/kubetest"
)

// world is a namespace with accounts and rights.
type world struct {
	t         *testing.T
	client    kubernetes.Interface
	config    *rest.Config
	namespace string
	auth      *auth.Auth
	cluster   *kube.Cluster
}

func newWorld(t *testing.T, config *rest.Config) *world {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: client, config: config, namespace: kubetest.Namespace(t, config)}
	if w.cluster, err = kube.New(config, kube.Options{Namespace: w.namespace}); err != nil {
		t.Fatal(err)
	}
	w.auth = auth.New(auth.Options{
		Authenticator: auth.ByIssuer(w.cluster, nil), Authorizer: w.cluster, Logger: slog.New(slog.DiscardHandler),
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// account makes a service account with rights, and returns a token of it.
func (w *world) account(name string, rules ...rbac.PolicyRule) string {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.client.CoreV1().ServiceAccounts(w.namespace).Create(ctx, &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{})
	w.must(err)
	if len(rules) > 0 {
		_, err = w.client.RbacV1().Roles(w.namespace).Create(ctx, &rbac.Role{ObjectMeta: meta.ObjectMeta{Name: name}, Rules: rules}, meta.CreateOptions{})
		w.must(err)
		w.bind(name, "Role", name)
	}
	return w.token(name, kube.DefaultAudience)
}

func (w *world) bind(account, kind, role string) {
	w.t.Helper()
	_, err := w.client.RbacV1().RoleBindings(w.namespace).Create(w.t.Context(), &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: account + "-" + role},
		Subjects:   []rbac.Subject{{Kind: "ServiceAccount", Name: account, Namespace: w.namespace}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: kind, Name: role},
	}, meta.CreateOptions{})
	w.must(err)
}

// token makes a token, as kubectl create token does; "" is for the API server.
func (w *world) token(account, audience string) string {
	w.t.Helper()
	request := &authentication.TokenRequest{}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	answer, err := w.client.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.t.Context(), account, request, meta.CreateOptions{})
	w.must(err)
	return answer.Status.Token
}

func models(verbs []string, names ...string) rbac.PolicyRule {
	return rbac.PolicyRule{APIGroups: []string{"modelmanager.dev"}, Resources: []string{"models"}, Verbs: verbs, ResourceNames: names}
}

// check checks until the answer is the one wanted: an apiserver learns of new
// roles a moment after they are made.
func (w *world) check(token string, action auth.Action, want modelmanager.Code) *auth.Identity {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for {
		a := auth.New(auth.Options{Authenticator: auth.ByIssuer(w.cluster, nil), Authorizer: w.cluster, Logger: slog.New(slog.DiscardHandler)})
		who, err := a.Check(ctx, token, action)
		if modelmanager.CodeOf(err) == want {
			return who
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%+v: %+v, %v (%s); want %q", action, who, err, modelmanager.CodeOf(err), want)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func on(verb auth.Verb, model string) auth.Action { return auth.Action{Verb: verb, Model: model} }

func TestRights(t *testing.T) {
	w := newWorld(t, kubetest.Config(t))
	caller := w.account("caller", models([]string{"get", "list", "predict"}))
	single := w.account("single", models([]string{"get", "predict", "submit"}, "scorer"), models([]string{"upload"}))
	nothing := w.account("nothing")
	const allowed, forbidden = modelmanager.Code(""), modelmanager.CodeForbidden
	for _, c := range []struct {
		token  string
		action auth.Action
		want   modelmanager.Code
	}{
		{caller, on(auth.Predict, "scorer"), allowed},
		{caller, on(auth.Predict, "another"), allowed},
		{caller, on(auth.List, ""), allowed},
		{caller, on(auth.Publish, "scorer"), forbidden},
		{caller, on(auth.Upload, ""), forbidden},
		{single, on(auth.Predict, "scorer"), allowed},
		{single, on(auth.Submit, "scorer"), allowed},
		{single, on(auth.Upload, ""), allowed},
		{single, on(auth.Predict, "scorer-2"), forbidden},
		{single, on(auth.Predict, ""), forbidden},
		{single, on(auth.List, ""), forbidden},
		{nothing, auth.Action{}, allowed},
		{nothing, on(auth.Get, "scorer"), forbidden},
		{nothing, auth.Action{Verb: auth.Get, Path: "/metrics"}, forbidden},
	} {
		w.check(c.token, c.action, c.want)
	}
	who := w.check(caller, auth.Action{}, allowed)
	if who.Name != "system:serviceaccount:"+w.namespace+":caller" || who.UID == "" || who.Expires.Before(time.Now().Add(50*time.Minute)) {
		t.Errorf("%+v", who)
	}
	_, err := w.auth.Check(t.Context(), single, on(auth.Publish, "scorer"))
	for _, word := range []string{who.Name[:len(who.Name)-6] + "single", "publish", "scorer", "models.modelmanager.dev", w.namespace} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("the refusal doesn't name %s: %v", word, err)
		}
	}
}

func TestRightsInAnotherNamespaceAreNone(t *testing.T) {
	w, other := newWorld(t, kubetest.Config(t)), newWorld(t, kubetest.Config(t))
	token := other.account("caller", models([]string{"*"}))
	other.check(token, on(auth.Predict, "scorer"), "")
	w.check(token, on(auth.Predict, "scorer"), modelmanager.CodeForbidden)
}

// TestRoles applies the ready-made roles, and checks each with each verb.
func TestRoles(t *testing.T) {
	w := newWorld(t, kubetest.Config(t))
	data, err := os.ReadFile("../../../deploy/kustomize/base/roles.yaml")
	w.must(err)
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		var role rbac.ClusterRole
		w.must(yaml.UnmarshalStrict([]byte(document), &role))
		role.Name += "-" + w.namespace // another test, on the same cluster, may have its own
		_, err := w.client.RbacV1().ClusterRoles().Create(t.Context(), &role, meta.CreateOptions{})
		w.must(err)
		t.Cleanup(func() {
			_ = w.client.RbacV1().ClusterRoles().Delete(context.Background(), role.Name, meta.DeleteOptions{})
		})
	}
	for name, verbs := range map[string][]auth.Verb{
		"viewer":    {auth.Get, auth.List},
		"caller":    {auth.Get, auth.List, auth.Predict, auth.Submit, auth.Upload},
		"publisher": {auth.Get, auth.List, auth.Predict, auth.Submit, auth.Upload, auth.Publish, auth.Promote},
		"operator":  auth.Verbs(),
	} {
		token := w.account(name)
		w.bind(name, "ClusterRole", "modelmanager-"+name+"-"+w.namespace)
		allowed := map[auth.Verb]bool{}
		for _, verb := range verbs {
			allowed[verb] = true
			w.check(token, on(verb, "scorer"), "")
		}
		for _, verb := range auth.Verbs() {
			if !allowed[verb] {
				w.check(token, on(verb, "scorer"), modelmanager.CodeForbidden)
			}
		}
	}
	prometheus := w.account("prometheus")
	_, err = w.client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbac.ClusterRoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "prometheus-" + w.namespace},
		Subjects:   []rbac.Subject{{Kind: "ServiceAccount", Name: "prometheus", Namespace: w.namespace}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "modelmanager-metrics-" + w.namespace},
	}, meta.CreateOptions{})
	w.must(err)
	t.Cleanup(func() {
		_ = w.client.RbacV1().ClusterRoleBindings().Delete(context.Background(), "prometheus-"+w.namespace, meta.DeleteOptions{})
	})
	w.check(prometheus, auth.Action{Verb: auth.Get, Path: "/metrics"}, "")
}

func TestTokensThatAreNobodys(t *testing.T) {
	w := newWorld(t, kubetest.Config(t))
	good := w.account("caller", models([]string{"*"}))
	gone := w.account("gone", models([]string{"*"}))
	w.check(gone, auth.Action{}, "")
	w.must(w.client.CoreV1().ServiceAccounts(w.namespace).Delete(t.Context(), "gone", meta.DeleteOptions{}))
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"none":              "",
		"nonsense":          "nonsense",
		"for the apiserver": w.token("caller", ""),
		"for another":       w.token("caller", "another"),
		"of one who's gone": gone,
		"another signature": parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"no signature":      parts[0] + "." + parts[1] + ".",
		"algorithm none":    "eyJhbGciOiJub25lIn0." + parts[1] + ".",
	} {
		t.Run(name, func(t *testing.T) {
			(&world{t: t, cluster: w.cluster}).check(token, auth.Action{}, modelmanager.CodeUnauthenticated)
		})
	}
	_, err := w.auth.Check(t.Context(), w.token("caller", "another"), auth.Action{})
	if err == nil || !strings.Contains(err.Error(), "another") || !strings.Contains(err.Error(), "--audience=modelmanager") {
		t.Errorf("a token for another audience isn't told what is wrong: %v", err)
	}
}

// TestWhileTheAPIServerIsKilled: who was allowed stays so, who wasn't is told
// that it can't be known, and all is as before when it is back.
func TestWhileTheAPIServerIsKilled(t *testing.T) {
	cluster := kubetest.Start(t)
	w := newWorld(t, cluster.Config())
	token := w.account("caller", models([]string{"predict"}))
	w.check(token, on(auth.Predict, "scorer"), "")
	if _, err := w.auth.Check(t.Context(), token, on(auth.Predict, "scorer")); err != nil {
		t.Fatal(err)
	}
	cluster.KillAPIServer(t)
	for _, model := range []string{"scorer", "another"} {
		if _, err := w.auth.Check(t.Context(), token, on(auth.Predict, model)); err != nil {
			t.Errorf("%s: %v", model, err)
		}
	}
	if _, err := w.auth.Check(t.Context(), token, on(auth.Publish, "scorer")); modelmanager.CodeOf(err) != modelmanager.CodeUnavailable {
		t.Errorf("%v", err)
	}
	cluster.StartAPIServer(t)
	w.check(token, on(auth.Publish, "scorer"), modelmanager.CodeForbidden)
	if _, err := w.auth.Check(t.Context(), token, on(auth.Publish, "scorer")); modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
		t.Errorf("%v", err)
	}
}

// TestOfPeople: rights of somebody whom another issuer knows.
func TestOfPeople(t *testing.T) {
	w := newWorld(t, kubetest.Config(t))
	_, err := w.client.RbacV1().Roles(w.namespace).Create(t.Context(), &rbac.Role{
		ObjectMeta: meta.ObjectMeta{Name: "analysts"}, Rules: []rbac.PolicyRule{models([]string{"predict"})},
	}, meta.CreateOptions{})
	w.must(err)
	_, err = w.client.RbacV1().RoleBindings(w.namespace).Create(t.Context(), &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "analysts"},
		Subjects:   []rbac.Subject{{Kind: "Group", APIGroup: rbac.GroupName, Name: "analysts"}, {Kind: "User", APIGroup: rbac.GroupName, Name: "ann@example.org"}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "analysts"},
	}, meta.CreateOptions{})
	w.must(err)
	allowed := func(who auth.Identity) bool {
		decision, err := w.cluster.Authorize(t.Context(), who, on(auth.Predict, "scorer"))
		w.must(err)
		return decision.Allowed
	}
	for end := time.Now().Add(30 * time.Second); !allowed(auth.Identity{Name: "ann@example.org"}); {
		if time.Now().After(end) {
			t.Fatal("ann may not predict")
		}
	}
	if !allowed(auth.Identity{Name: "bob@example.org", Groups: []string{"analysts"}}) || allowed(auth.Identity{Name: "bob@example.org"}) {
		t.Error("bob's group isn't what counts")
	}
}
