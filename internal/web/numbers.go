package web

import (
	"strconv"

	"modelmanager.dev"
)

// numbersListed is how many versions can be chosen from a list; of a model
// that has more, a number is typed.
const numbersListed = 200

// numbers are a model's versions to choose from.
type numbers struct {
	List   []int // newest first; nil: there are too many
	Latest int
}

// Several tells whether there is anything to choose.
func (n numbers) Several() bool { return n.List == nil && n.Latest > 1 || len(n.List) > 1 }

// numbers asks for the versions of a model that a form offers.
func (v *visit) numbers(model modelmanager.ModelInfo) (numbers, error) {
	n := numbers{Latest: model.Latest}
	list, err := v.api().Versions(v.ctx(), model.Name, numbersListed, "")
	if err != nil || list.NextPageToken != "" {
		return n, err
	}
	n.List = make([]int, len(list.Versions))
	for i, version := range list.Versions {
		n.List[i] = version.Version
	}
	return n, nil
}

// versionNumber reads the number of a version that somebody chose or typed.
func versionNumber(text string) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 {
		return 0, modelmanager.Errorf(modelmanager.CodeBadRequest, "choose a version; %.50q is none, they are 1, 2, 3 …", text)
	}
	return number, nil
}
