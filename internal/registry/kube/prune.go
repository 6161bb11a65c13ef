package kube

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// KeptVersions is how many of a model's newest versions Prune always leaves.
const KeptVersions = 20

// Prune deletes a model's old versions from the cluster, and returns their
// numbers: all but the first, the newest KeptVersions, those that its traffic
// or its history names, and those for which named, if there is one, returns
// true, such as those of jobs. Only the leader may call it, and only for models with
// more versions than it leaves: it makes the apiserver look through the names
// of all versions. What it deletes, no publication of the same content finds
// again.
func (s *Store) Prune(ctx context.Context, model string, named func(number int) bool) ([]int, error) {
	numbers, err := s.numbers(ctx, model)
	if err != nil || len(numbers) <= KeptVersions {
		return nil, err
	}
	record, _, err := s.Model(ctx, model) // after the list: what was promoted meanwhile is named
	if err != nil {
		return nil, err
	}
	var pruned []int
	for _, number := range expendable(record, numbers, named) {
		if err := s.deleteVersion(ctx, model, number); err != nil {
			return pruned, err
		}
		pruned = append(pruned, number)
	}
	return pruned, nil
}

// expendable chooses, of a model's versions, those that nothing needs.
func expendable(model modelmanager.Model, numbers []int, named func(int) bool) []int {
	numbers = slices.Sorted(slices.Values(numbers))
	var chosen []int
	for _, number := range numbers[:max(0, len(numbers)-KeptVersions)] {
		needed := number == 1 || number == model.Latest || named != nil && named(number)
		for _, setting := range model.History {
			needed = needed || setting.Shadow == number ||
				slices.ContainsFunc(setting.Versions, func(share modelmanager.Share) bool { return share.Version == number })
		}
		if !needed {
			chosen = append(chosen, number)
		}
	}
	return chosen
}

const metadataOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

// numbers lists the numbers of a model's versions, and nothing else of them.
func (s *Store) numbers(ctx context.Context, model string) ([]int, error) {
	if err := registry.CheckName(model); err != nil {
		return nil, err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	request := s.request(s.client.Get(), modelVersions).Param("fieldSelector", "spec.model="+model).SetHeader("Accept", metadataOnly)
	body, err := send(ctx, request)
	if err != nil {
		return nil, failedIn(ctx, "listing the versions of "+model, err)
	}
	var list struct{ Items []struct{ Metadata metadata } }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "listing the versions of %s: %w", model, err)
	}
	var numbers []int
	for _, item := range list.Items {
		if number, err := parseNumber(strings.TrimPrefix(item.Metadata.Name, model+"-")); err == nil {
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

func (s *Store) deleteVersion(ctx context.Context, model string, number int) error {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	name := versionName(model, number)
	_, err = send(ctx, s.request(s.client.Delete(), modelVersions).Name(name))
	if err != nil && !lacksObject(err, name) {
		return failedIn(ctx, "deleting version "+name, err)
	}
	return nil
}
