package modelmanager

import "time"

// Version is one immutable publication of a model.
type Version struct {
	Model  string `json:"model"`
	Number int    `json:"version"` // 1, 2, 3 …

	// Digest is the version's identity: SHA-256 over Spec and Artifact.Digest,
	// "sha256:…". The same content published again is the same version.
	Digest   string   `json:"digest"`
	Spec     string   `json:"spec"` // the resolved spec as canonical JSON
	Artifact Artifact `json:"artifact"`
	Source   Source   `json:"source"`

	Created    time.Time `json:"created"`
	By         string    `json:"by,omitempty"`
	ApprovedBy string    `json:"approved_by,omitempty"`
}

// Artifact is what a version runs: exactly one of an archive of the model's
// folder in object storage and an OCI image.
type Artifact struct {
	Digest  string `json:"digest"`            // "sha256:…"
	Archive string `json:"archive,omitempty"` // key in the server's object storage
	Image   string `json:"image,omitempty"`   // reference by digest
	Size    int64  `json:"size,omitempty"`    // bytes
}

// Source says where a version comes from.
type Source struct {
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Path       string `json:"path,omitempty"` // of the folder in the repository
	Tree       string `json:"tree,omitempty"` // digest of the folder before its build, "sha256:…"
	Author     string `json:"author,omitempty"`

	// Lock is the text of the requirements.lock that was made of open requirements
	// when the version was validated: an archive that is made again of the commit has
	// it, too. Lists of versions leave it out.
	Lock string `json:"lock,omitempty"`
}
