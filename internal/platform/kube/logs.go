package kube

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev/internal/platform"
)

// Bounds of what is read of a version's logs: of how many pods, the newest
// first, and how much of each.
const (
	loggedPods    = 10
	bytesOfOneLog = 4 << 20
)

// Logs implements platform.Driver. Each line starts with its time and the
// replica's id. A version without pods has none: the cluster keeps logs for as
// long as it keeps the pods.
func (d *Driver) Logs(ctx context.Context, ref platform.Ref, lines int) (io.ReadCloser, error) {
	ctx, done, err := d.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	selector := fmt.Sprintf("%s,%s=%s,%s=%s", selectReplicas, labelModel, ref.Model, labelVersion, strconv.Itoa(ref.Version))
	list, err := d.client.CoreV1().Pods(d.options.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, unreachable(fmt.Sprintf("reading the logs of %s", ref), err)
	}
	pods := list.Items
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	pods = pods[:min(len(pods), loggedPods)]
	logs := make([][]string, len(pods))
	var group errgroup.Group
	for i := range pods {
		group.Go(func() error {
			logs[i] = d.logOf(ctx, &pods[i], lines)
			return nil
		})
	}
	_ = group.Wait() // a log that can't be read is left out
	all := slices.Concat(logs...)
	// The time, which each line begins with, is written in a way that sorts.
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(lineTime(a), lineTime(b)) })
	all = all[max(0, len(all)-lines):]
	return io.NopCloser(strings.NewReader(strings.Join(all, ""))), nil
}

// logOf returns the last lines of a pod: those of its present container after
// those of the one before it.
func (d *Driver) logOf(ctx context.Context, pod *corev1.Pod, lines int) []string {
	var all []string
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name != modelContainer {
			continue
		}
		if status.LastTerminationState.Terminated != nil {
			all = append(all, d.readLog(ctx, pod.Name, lines, true)...)
		}
		if status.State.Running != nil || status.State.Terminated != nil {
			all = append(all, d.readLog(ctx, pod.Name, lines, false)...)
		}
	}
	return all
}

func (d *Driver) readLog(ctx context.Context, pod string, lines int, previous bool) []string {
	text, err := d.client.CoreV1().Pods(d.options.Namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: modelContainer, Previous: previous, Timestamps: true,
		TailLines: new(int64(lines)), LimitBytes: new(int64(bytesOfOneLog)),
	}).DoRaw(ctx)
	if err != nil {
		d.options.Logger.Debug("reading the log of a pod", "pod", pod, "error", err)
		return nil
	}
	var all []string
	for line := range bytes.Lines(bytes.ToValidUTF8(text, []byte("?"))) {
		at, rest, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		all = append(all, at+" "+pod+" "+rest+"\n")
	}
	return all
}

func lineTime(line string) string {
	at, _, _ := strings.Cut(line, " ")
	return strings.TrimSuffix(at, "Z")
}
