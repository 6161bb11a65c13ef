package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// MaxSpec is the greatest size of a version's spec, in bytes of canonical
// JSON: what the smallest of the stores can keep.
const MaxSpec = 256 << 10

const (
	maxNumber     = math.MaxInt32
	maxApprovedBy = 4096
)

// Publication is what becomes a version.
type Publication struct {
	Spec     *spec.Spec // resolved
	Artifact modelmanager.Artifact
	Source   modelmanager.Source

	// Number is the version's number where another cluster gave it; 0: the next.
	Number int

	By         string
	ApprovedBy string // at most maxApprovedBy bytes
	Reason     string // kept only where publishing brings back a retired model
}

// Publish keeps a publication as a version, and tells whether it is a new one:
// content that has been published before answers the version that it became.
// It moves no traffic. Publishing to a retired model brings it back, without
// traffic, and its history says so.
//
// Errors: CodeNameTaken if the model belongs to another repository;
// CodeConflict if the given number is another content's, or the content has
// another number; CodeTooLarge; CodeInvalidSpec; CodeBadRequest.
//
// A publication is three writes: the model's record, which claims the name;
// the version, whose number is given by whoever creates it first; and the
// record again, with its latest number. A publisher that dies in between
// leaves a claimed name or a version that is complete but not counted: the
// next publisher numbers after it, the same content answers it, and either
// completes the record. So no number is lost or given twice. Should two
// publishers give the same new content two numbers in the same instant, one of
// them by a given number, then both stay.
func (r *Registry) Publish(ctx context.Context, p Publication) (modelmanager.Version, bool, error) {
	draft, err := r.draft(p)
	if err != nil {
		return modelmanager.Version{}, false, err
	}
	record, err := r.claim(ctx, draft)
	if err != nil {
		return modelmanager.Version{}, false, err
	}
	version, created, err := r.allot(ctx, draft, record.Latest, p.Number)
	if err != nil {
		return modelmanager.Version{}, false, err
	}
	if err := r.count(ctx, version, p); err != nil {
		return modelmanager.Version{}, false, err
	}
	return version, created, nil
}

// Digest is the identity of a version's content: SHA-256 over the canonical
// spec, a line feed (canonical JSON has none) and the artifact's digest.
func Digest(canonicalSpec, artifactDigest string) string {
	sum := sha256.Sum256([]byte(canonicalSpec + "\n" + artifactDigest))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// draft checks a publication and makes the version of it, as yet without number.
func (r *Registry) draft(p Publication) (modelmanager.Version, error) {
	none := modelmanager.Version{}
	if p.Spec == nil {
		return none, modelmanager.Errorf(modelmanager.CodeBadRequest, "publishing: the publication has no spec")
	}
	name := p.Spec.Name
	if err := CheckName(name); err != nil {
		return none, err
	}
	if p.Number < 0 || p.Number > maxNumber {
		return none, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: %d can't be a version's number: it must lie between 1 and %d, or be left out", name, p.Number, maxNumber)
	}
	if len(p.ApprovedBy) > maxApprovedBy {
		return none, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: who approved it is %d bytes long, the limit is %d", name, len(p.ApprovedBy), maxApprovedBy)
	}
	if err := checkArtifact(name, p.Artifact); err != nil {
		return none, err
	}
	canonical, err := p.Spec.Canonical()
	if err != nil {
		return none, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "publishing %s: writing its spec: %w", name, err)
	}
	if len(canonical) > MaxSpec {
		return none, modelmanager.Errorf(modelmanager.CodeTooLarge,
			"publishing %s: its spec is %d KiB, the limit is %d KiB; put long lists and tables into the model's folder and read them from there",
			name, (len(canonical)+1023)>>10, MaxSpec>>10)
	}
	return modelmanager.Version{
		Model:      name,
		Digest:     Digest(canonical, p.Artifact.Digest),
		Spec:       canonical,
		Artifact:   p.Artifact,
		Source:     p.Source,
		Created:    r.instant(),
		By:         p.By,
		ApprovedBy: p.ApprovedBy,
	}, nil
}

func checkArtifact(name string, artifact modelmanager.Artifact) error {
	sum, found := strings.CutPrefix(artifact.Digest, "sha256:")
	if raw, err := hex.DecodeString(sum); !found || err != nil || len(raw) != sha256.Size || strings.ToLower(sum) != sum {
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: the artifact's digest %.100q isn't sha256: and 64 hexadecimal digits in lower case", name, artifact.Digest)
	}
	if (artifact.Archive == "") == (artifact.Image == "") {
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: the artifact must name an archive or an image, and not both", name)
	}
	if artifact.Image != "" && !strings.HasSuffix(artifact.Image, "@"+artifact.Digest) {
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"publishing %s: the image %.200q must be named by the artifact's digest, NAME@%s", name, artifact.Image, artifact.Digest)
	}
	return nil
}

// claim returns the model's record, and makes it if there is none: from then
// on the name belongs to the publication's repository. A model that was first
// published from no repository belongs to the first one that publishes it.
func (r *Registry) claim(ctx context.Context, draft modelmanager.Version) (modelmanager.Model, error) {
	repository := draft.Source.Repository
	for attempt := 0; ; attempt++ {
		record, revision, err := r.store.Model(ctx, draft.Model)
		switch {
		case modelmanager.CodeOf(err) == modelmanager.CodeNotFound:
			record = modelmanager.Model{Name: draft.Model, Created: draft.Created}
		case err != nil:
			return modelmanager.Model{}, err
		case SameRepository(record.Repository, repository):
			return record, nil
		case record.Repository != "":
			return modelmanager.Model{}, nameTaken(record, repository)
		}
		record.Repository = repository
		_, err = r.store.PutModel(ctx, record, revision)
		if err == nil {
			return record, nil
		}
		if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
			return modelmanager.Model{}, err
		}
		if err := yieldToOthers(ctx, attempt); err != nil {
			return modelmanager.Model{}, err
		}
	}
}

func nameTaken(record modelmanager.Model, repository string) error {
	from := "from " + repository
	if repository == "" {
		from = "from a folder that is in no repository"
	}
	return modelmanager.Errorf(modelmanager.CodeNameTaken,
		"publishing %s %s: the name belongs to %s; choose another name, or publish from there", record.Name, from, record.Repository)
}

// allot gives the draft its number by creating the version, unless its
// content is a version already.
func (r *Registry) allot(ctx context.Context, draft modelmanager.Version, latest, given int) (modelmanager.Version, bool, error) {
	seen := 0
	for attempt := 0; ; attempt++ {
		same, newest, err := r.findContent(ctx, draft.Model, draft.Digest, seen)
		if err != nil {
			return modelmanager.Version{}, false, err
		}
		if same.Number != 0 {
			if given != 0 && same.Number != given {
				return modelmanager.Version{}, false, modelmanager.Errorf(modelmanager.CodeConflict,
					"publishing %s as version %d: the same content is version %d already", draft.Model, given, same.Number)
			}
			return same, false, nil
		}
		seen = max(seen, newest)
		draft.Number = given
		if given == 0 {
			draft.Number = max(latest, seen) + 1
		}
		if draft.Number > maxNumber {
			return modelmanager.Version{}, false, modelmanager.Errorf(modelmanager.CodeConflict,
				"publishing %s: its numbers are used up, the latest is %d", draft.Model, maxNumber)
		}
		err = r.store.CreateVersion(ctx, draft)
		if err == nil {
			return draft, true, nil
		}
		if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
			return modelmanager.Version{}, false, err
		}
		if given != 0 {
			return r.givenTo(ctx, draft)
		}
		latest = max(latest, draft.Number-1)
		if err := yieldToOthers(ctx, attempt); err != nil {
			return modelmanager.Version{}, false, err
		}
	}
}

// givenTo answers a publication whose given number is taken.
func (r *Registry) givenTo(ctx context.Context, draft modelmanager.Version) (modelmanager.Version, bool, error) {
	holder, err := r.store.Version(ctx, draft.Model, draft.Number)
	if err != nil {
		return modelmanager.Version{}, false, err
	}
	if holder.Digest != draft.Digest {
		return modelmanager.Version{}, false, modelmanager.Errorf(modelmanager.CodeConflict,
			"publishing %s as version %d: that number was given to another content on %s", draft.Model, draft.Number,
			holder.Created.UTC().Format("2 January 2006"))
	}
	return holder, false, nil
}

// findContent looks for a content among the versions above seen, and returns
// the number of the newest there is.
func (r *Registry) findContent(ctx context.Context, model, digest string, seen int) (same modelmanager.Version, newest int, err error) {
	const page = 32
	before := 0
	for {
		versions, err := r.store.Versions(ctx, model, before, page)
		if err != nil {
			return modelmanager.Version{}, 0, err
		}
		for _, version := range versions {
			newest = max(newest, version.Number)
			if version.Number <= seen {
				return modelmanager.Version{}, newest, nil
			}
			if version.Digest == digest {
				return version, newest, nil
			}
			before = version.Number
		}
		if len(versions) < page {
			return modelmanager.Version{}, newest, nil
		}
	}
}

// count enters a version into its model's record.
func (r *Registry) count(ctx context.Context, version modelmanager.Version, p Publication) error {
	_, err := r.change(ctx, version.Model, func(model *modelmanager.Model) (bool, error) {
		if model.Dropping.Has(version.Number) {
			return false, modelmanager.Errorf(modelmanager.CodeConflict,
				"publishing %s: version %d, of the same content, is being dropped just now; publish it again", version.Model, version.Number)
		}
		changed := model.Dropped.Has(version.Number) // it was given again
		model.Dropped = model.Dropped.Without(version.Number)
		if model.Latest < version.Number {
			model.Latest = version.Number
			changed = true
		}
		if model.Retired != nil {
			reason := fmt.Sprintf("version %d was published to the retired model", version.Number)
			if p.Reason != "" {
				reason += ": " + p.Reason
			}
			model.Retired = nil
			r.setTraffic(model, modelmanager.Traffic{}, modelmanager.Change{By: p.By, Reason: reason})
			changed = true
		}
		if changed && model.Traffic().Largest() == 0 && version.Number == model.Latest {
			if err := describe(model, version); err != nil {
				return false, err
			}
		}
		return changed, nil
	})
	return err
}

// describe gives a model the description of one of its versions.
func describe(model *modelmanager.Model, version modelmanager.Version) error {
	var described struct {
		Summary string              `json:"summary"`
		Owner   string              `json:"owner"`
		Labels  map[string]string   `json:"labels"`
		Serve   []modelmanager.Mode `json:"serve"`
	}
	if err := json.Unmarshal([]byte(version.Spec), &described); err != nil {
		return modelmanager.Errorf(modelmanager.CodeInternal,
			"reading the spec of %s version %d: %w", version.Model, version.Number, err)
	}
	model.Summary, model.Owner = described.Summary, described.Owner
	model.Labels, model.Serve = described.Labels, described.Serve
	return nil
}

// instant is the time as records keep it.
func (r *Registry) instant() time.Time {
	return r.now().UTC().Truncate(time.Microsecond)
}
