package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// secretType keeps the driver's Secrets apart from those that an operator
// makes for models: a type never changes, so that neither takes the other's name.
const secretType corev1.SecretType = "modelmanager.dev/agent"

// secretPlan is a Secret before it has an owner.
type secretPlan struct {
	name   string // of the Deployment or Job; the Secret's adds the digest of its content
	labels map[string]string
	config agent.Config
	field  string // keyField or tokenField
	value  string
}

// secret returns the Secret: the same content has the same name.
func (o *Options) secret(p secretPlan) (*corev1.Secret, error) {
	text, err := json.Marshal(p.config)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of the agents of %s: %w", p.name, err)
	}
	sum := sha256.New()
	sum.Write(text)
	sum.Write([]byte{0})
	sum.Write([]byte(p.value))
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: p.name + "-" + hex.EncodeToString(sum.Sum(nil)[:5]), Labels: p.labels,
		},
		Type:      secretType,
		Immutable: new(true),
		Data:      map[string][]byte{configFile: text, p.field: []byte(p.value)},
	}, nil
}

// agentConfig is what agents of replicas and of tasks have in common. The
// model's folder is where its image says.
func agentConfig(w platform.Workload) agent.Config {
	return agent.Config{
		Model: w.Version.Model, Version: w.Version.Number, Spec: w.Version.Spec, RunDir: runDir,
	}
}
