package kube

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/util/csaupgrade"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// applied are the options of every server-side apply. What another manager has
// set in our own objects is put right.
var applied = metav1.ApplyOptions{FieldManager: fieldManager, Force: true}

// Scale implements platform.Driver.
func (d *Driver) Scale(ctx context.Context, workload platform.Workload, replicas int) error {
	ctx, done, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	ref := workload.Ref()
	if replicas == 0 {
		return d.remove(ctx, ref)
	}
	if err := hasImage(workload); err != nil {
		return err
	}
	source, err := d.agentSource()
	if err != nil {
		return err
	}
	secret, err := d.options.replicaSecret(workload)
	if err != nil {
		return err
	}
	d.mu.Lock()
	if delete(d.keys, ref); workload.Key != d.options.Key(ref) {
		d.keys[ref] = workload.Key
	}
	known := d.owned[deploymentName(ref)].secret == secret.Name
	d.mu.Unlock()

	doing := fmt.Sprintf("scaling %s to %d", ref, replicas)
	if replicas == platform.AtLeastOne {
		doing = fmt.Sprintf("starting %s", ref)
	}
	var made *corev1.Secret
	if !known {
		// Before its pods, which would have to wait for it.
		if made, err = d.createSecret(ctx, secret); err != nil {
			return unreachable(doing, err)
		}
	}
	var deployment *appsv1.Deployment
	if replicas == platform.AtLeastOne {
		deployment, err = d.ensure(ctx, d.options.deployment(workload, 1, secret.Name, source))
	} else {
		deployment, err = d.apply(ctx, d.options.deployment(workload, replicas, secret.Name, source))
	}
	if err != nil {
		d.takeBack(made)
		return unreachable(doing, err)
	}
	if replicas > 1 {
		d.giveBudget(ctx, ref, deploymentOwner(deployment))
	}
	if err := d.giveNetwork(ctx, deploymentOwner(deployment), replicaLabels(ref), workload.Spec.Network); err != nil {
		return unreachable(doing, err)
	}
	return unreachable(doing, d.giveSecret(ctx, secret, deploymentOwner(deployment)))
}

// apply makes a Deployment be this.
func (d *Driver) apply(ctx context.Context, planned *appsv1.Deployment) (*appsv1.Deployment, error) {
	deployments := d.client.AppsV1().Deployments(d.options.Namespace)
	var configuration appsapply.DeploymentApplyConfiguration
	if err := convert(planned, &configuration); err != nil {
		return nil, err
	}
	configuration.Status = nil
	deployment, err := deployments.Apply(ctx, &configuration, applied)
	if !apierrors.IsInvalid(err) {
		return deployment, err
	}
	// Fields of one that was made, but not adopted, would never go.
	invalid := err
	if deployment, err = deployments.Get(ctx, planned.Name, metav1.GetOptions{}); err != nil {
		return nil, invalid
	}
	if adopted, err := d.adopt(ctx, deployment); err != nil || !adopted {
		return nil, invalid
	}
	return deployments.Apply(ctx, &configuration, applied)
}

// ensure makes a Deployment unless it is there: how many replicas that one has
// is none of our business, as long as it has any. An apply can't make without
// changing what is there.
func (d *Driver) ensure(ctx context.Context, planned *appsv1.Deployment) (*appsv1.Deployment, error) {
	deployments := d.client.AppsV1().Deployments(d.options.Namespace)
	deployment, err := deployments.Create(ctx, planned, metav1.CreateOptions{FieldManager: fieldManager})
	if err == nil {
		if _, err := d.adopt(ctx, deployment); err != nil && ctx.Err() == nil {
			d.options.Logger.Debug("adopting the fields of a Deployment", "deployment", planned.Name, "error", err) // apply does it later
		}
		return deployment, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		deployment, err = deployments.Get(ctx, planned.Name, metav1.GetOptions{})
		switch {
		case err != nil:
			return nil, err
		case deployment.DeletionTimestamp != nil:
			return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "its Deployment %s is being deleted", planned.Name)
		case deployment.Spec.Replicas == nil || *deployment.Spec.Replicas > 0:
			return deployment, nil
		}
		planned.ResourceVersion = deployment.ResourceVersion // nobody may have raised it meanwhile
		if deployment, err = d.apply(ctx, planned); !apierrors.IsConflict(err) || attempt == attempts {
			return deployment, err
		}
	}
}

// attempts is how often what the cluster's controllers write to, too, is tried.
const attempts = 5

// adopt makes the fields with which a Deployment was created be those of later
// applies: what an apply no longer names goes then. The cluster's controllers
// write to one that is new, too.
func (d *Driver) adopt(ctx context.Context, deployment *appsv1.Deployment) (adopted bool, err error) {
	deployments := d.client.AppsV1().Deployments(deployment.Namespace)
	for attempt := 1; ; attempt++ {
		patch, err := csaupgrade.UpgradeManagedFieldsPatch(deployment, sets.New(fieldManager), fieldManager)
		if err != nil || len(patch) == 0 {
			return false, err
		}
		_, err = deployments.Patch(ctx, deployment.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		if !apierrors.IsConflict(err) || attempt == attempts {
			return err == nil, err
		}
		if deployment, err = deployments.Get(ctx, deployment.Name, metav1.GetOptions{}); err != nil {
			return false, err
		}
	}
}

// remove ends a version's replicas. Its Deployment's pods drain; its Secret
// goes with it.
func (d *Driver) remove(ctx context.Context, ref platform.Ref) error {
	err := d.client.AppsV1().Deployments(d.options.Namespace).Delete(ctx, deploymentName(ref), metav1.DeleteOptions{
		PropagationPolicy: new(metav1.DeletePropagationBackground),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return unreachable(fmt.Sprintf("scaling %s to 0", ref), err)
	}
	d.forget(deploymentName(ref))
	return nil
}

// createSecret makes a Secret unless it is there: its name says its content. It
// returns what it has made, if anything.
func (d *Driver) createSecret(ctx context.Context, secret *corev1.Secret) (made *corev1.Secret, err error) {
	made, err = d.client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return made, nil
}

const takeBackWithin = 10 * time.Second

// takeBack deletes a Secret whose owner could not be made, with which it would
// have gone; not if another server has found an owner for it meanwhile.
func (d *Driver) takeBack(made *corev1.Secret) {
	if made == nil {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, takeBackWithin) // whoever asked may have gone
	defer cancel()
	err := d.client.CoreV1().Secrets(made.Namespace).Delete(ctx, made.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &made.UID, ResourceVersion: &made.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		d.options.Logger.Warn("a Secret that nothing needs is left", "secret", made.Name, "error", err)
	}
}

// giveSecret gives a Secret its owner, with which it will go. It makes it again
// where it has just gone with its owner before.
func (d *Driver) giveSecret(ctx context.Context, secret *corev1.Secret, owner metav1.OwnerReference) error {
	now := ownedSecret{secret: secret.Name, owner: owner.UID}
	d.mu.Lock()
	before := d.owned[owner.Name]
	d.mu.Unlock()
	if before == now {
		return nil
	}
	owned := secret.DeepCopy()
	owned.OwnerReferences = []metav1.OwnerReference{owner}
	var configuration coreapply.SecretApplyConfiguration
	if err := convert(owned, &configuration); err != nil {
		return err
	}
	if _, err := d.client.CoreV1().Secrets(secret.Namespace).Apply(ctx, &configuration, applied); err != nil {
		return err
	}
	d.mu.Lock()
	d.owned[owner.Name] = now
	d.mu.Unlock()
	return nil
}

// ownedSecret is a Secret of which this driver knows that it is there, and whose
// it is.
type ownedSecret struct {
	secret string
	owner  types.UID
}

// forget forgets what a Deployment or Job had that has gone.
func (d *Driver) forget(owner string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.owned, owner)
	delete(d.budgets, owner)
	delete(d.networks, owner)
}

func deploymentOwner(deployment *appsv1.Deployment) metav1.OwnerReference {
	return ownerReference(appsv1.SchemeGroupVersion.String(), "Deployment", deployment.Name, deployment.UID)
}

func jobOwner(job *batchv1.Job) metav1.OwnerReference {
	return ownerReference(batchv1.SchemeGroupVersion.String(), "Job", job.Name, job.UID)
}

func ownerReference(version, kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name, UID: uid}
}
