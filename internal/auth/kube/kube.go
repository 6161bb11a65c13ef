// Package kube asks a Kubernetes API server who somebody is (TokenReview) and
// what somebody may do (SubjectAccessReview). So rights are RBAC's, on the
// resource models of the group modelmanager.dev, and there is no list of users
// but the cluster's.
package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
)

// What rights are about.
const (
	group    = "modelmanager.dev"
	version  = "v1alpha1"
	resource = "models"
)

// DefaultAudience is whom tokens have to be for, unless Options say otherwise.
const DefaultAudience = "modelmanager"

// Options are all that a Cluster is told.
type Options struct {
	Audience  string // of tokens; default DefaultAudience
	Namespace string // where the models are
}

// Cluster asks one API server. It is an auth.Authenticator and an
// auth.Authorizer.
type Cluster struct {
	tokens    authenticationclient.TokenReviewInterface
	rights    authorizationclient.SubjectAccessReviewInterface
	audience  string
	namespace string
}

// requestTimeout bounds one question.
const requestTimeout = 4 * time.Second

// New makes a Cluster. The server's own account needs to create tokenreviews
// and subjectaccessreviews.
func New(config *rest.Config, options Options) (*Cluster, error) {
	if options.Audience == "" {
		options.Audience = DefaultAudience
	}
	if options.Namespace == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "asking for rights: there is no namespace of the models")
	}
	config = rest.CopyConfig(config)
	config.QPS = -1 // package auth bounds what is asked
	config.Timeout = requestTimeout
	tokens, err := authenticationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for token reviews: %w", err)
	}
	rights, err := authorizationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for access reviews: %w", err)
	}
	return &Cluster{
		tokens: tokens.TokenReviews(), rights: rights.SubjectAccessReviews(),
		audience: options.Audience, namespace: options.Namespace,
	}, nil
}

// Authenticate implements auth.Authenticator.
func (c *Cluster) Authenticate(ctx context.Context, token string) (auth.Identity, error) {
	var none auth.Identity
	if token == "" {
		return none, modelmanager.Errorf(modelmanager.CodeUnauthenticated,
			"this server needs a bearer token, in the header Authorization; a Kubernetes token for the audience %s is one: "+
				"kubectl create token SERVICE-ACCOUNT --audience=%s", c.audience, c.audience)
	}
	review, err := c.tokens.Create(ctx, &authentication.TokenReview{
		Spec: authentication.TokenReviewSpec{Token: token, Audiences: []string{c.audience}},
	}, meta.CreateOptions{})
	if err != nil {
		return none, fmt.Errorf("asking the API server whose token it is: %w", err)
	}
	// An API server that doesn't know audiences answers none: the token may be
	// for anybody, and isn't taken.
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, c.audience) {
		return none, c.foreign(token)
	}
	user := review.Status.User
	who := auth.Identity{Name: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string][]string{}}
	for name, values := range user.Extra {
		who.Extra[name] = values
	}
	if claims, ok := auth.ReadClaims(token); ok {
		who.Expires = claims.Expires
	}
	return who, nil
}

// foreign says what is wrong with a token, as far as it says so itself. The
// API server's own words may be about its configuration, and aren't passed on.
func (c *Cluster) foreign(token string) error {
	claims, ok := auth.ReadClaims(token)
	if ok && len(claims.Audience) > 0 && !slices.Contains(claims.Audience, c.audience) {
		return modelmanager.Errorf(modelmanager.CodeUnauthenticated,
			"the token is for %.200q, and this server's audience is %q: kubectl create token SERVICE-ACCOUNT --audience=%s makes one for it",
			claims.Audience, c.audience, c.audience)
	}
	return modelmanager.Errorf(modelmanager.CodeUnauthenticated,
		"the cluster doesn't know this token: it may have ended, its account may be gone, or it is another cluster's")
}

// Authorize implements auth.Authorizer.
func (c *Cluster) Authorize(ctx context.Context, who auth.Identity, action auth.Action) (auth.Decision, error) {
	spec := authorization.SubjectAccessReviewSpec{
		User: who.Name, UID: who.UID, Groups: who.Groups, Extra: map[string]authorization.ExtraValue{},
	}
	for name, values := range who.Extra {
		spec.Extra[name] = values
	}
	if action.Path != "" {
		spec.NonResourceAttributes = &authorization.NonResourceAttributes{Path: action.Path, Verb: string(action.Verb)}
	} else {
		spec.ResourceAttributes = &authorization.ResourceAttributes{
			Namespace: c.namespace, Verb: string(action.Verb), Group: group, Version: version, Resource: resource, Name: action.Model,
		}
	}
	review, err := c.rights.Create(ctx, &authorization.SubjectAccessReview{Spec: spec}, meta.CreateOptions{})
	if err != nil {
		return auth.Decision{}, fmt.Errorf("asking the API server for %s's rights: %w", who.Name, err)
	}
	if review.Status.Allowed && !review.Status.Denied {
		return auth.Decision{Allowed: true}, nil
	}
	return auth.Decision{Needs: c.needs(action)}, nil
}

// needs words what an operator would grant.
func (c *Cluster) needs(action auth.Action) string {
	switch {
	case action.Path != "":
		return fmt.Sprintf("the verb %q on the nonResourceURL %s, in a ClusterRole", action.Verb, action.Path)
	case action.Model == "":
		return fmt.Sprintf("the verb %q on %s.%s in the namespace %s, without resourceNames", action.Verb, resource, group, c.namespace)
	}
	return fmt.Sprintf("the verb %q on %s.%s in the namespace %s, for all or for the resourceName %s", action.Verb, resource, group, c.namespace, action.Model)
}
