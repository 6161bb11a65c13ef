package batch

import (
	"context"
	"io"
	"path"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/storage"
)

// find resolves what a request names as its input, and looks at it.
func (s *Service) find(ctx context.Context, input *modelmanager.JobInput) (source, error) {
	switch {
	case (input.URI == "") == (input.Upload == ""):
		return source{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "submitting a job: set one of input.uri and input.upload")
	case input.Upload != "":
		upload, err := s.config.Uploads.Get(ctx, input.Upload)
		if err != nil {
			return source{}, err
		}
		key := s.config.Uploads.Key(input.Upload)
		attributes, err := s.config.Bucket.Stat(ctx, key)
		return source{Key: key, ETag: attributes.ETag, Size: upload.Size, SHA256: upload.SHA256}, err
	}
	bucket, key, err := s.config.Locations.Resolve(input.URI)
	if err != nil {
		return source{}, err
	}
	attributes, err := bucket.Stat(ctx, key)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return source{}, modelmanager.Errorf(modelmanager.CodeNotFound, "submitting a job: there is no file %s", input.URI)
	}
	if input.Name == "" {
		input.Name = path.Base(key)
	}
	return source{URI: input.URI, ETag: attributes.ETag, Size: attributes.Size}, err
}

// object returns where a source is now.
func (s *Service) object(src source) (*storage.Bucket, string, error) {
	if src.URI != "" {
		return s.config.Locations.Resolve(src.URI)
	}
	return s.config.Bucket, src.Key, nil
}

// unchanged fails with CodeInputChanged if a source isn't what it was when the
// job was accepted.
func (s *Service) unchanged(ctx context.Context, src source) error {
	bucket, key, err := s.object(src)
	if err != nil {
		return err
	}
	attributes, err := bucket.Stat(ctx, key)
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		return err
	}
	if err != nil || attributes.ETag != src.ETag {
		return modelmanager.Errorf(modelmanager.CodeInputChanged,
			"the input %s changed after the job was accepted; submit it again with a file that stays as it is", path.Base(key))
	}
	return nil
}

// open makes a source readable for package dataset.
func (s *Service) open(src source) (dataset.Source, error) {
	bucket, key, err := s.object(src)
	if err != nil {
		return nil, err
	}
	return dataset.NewRangeSource(src.Size, func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		return bucket.ReadMatching(ctx, key, src.ETag, offset, length)
	}), nil
}
