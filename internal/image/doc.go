// Package image makes OCI images of models, without a daemon and without
// running anything in a container: a base image of the language, a layer with
// what the model's lock file asks for, and layers with the model's folder.
//
// The same folder on the same base is the same image, byte for byte, whoever
// makes it and when: an image's digest is a version's identity. So nothing of
// the machine, the time or the commit goes into an image. Where it comes from
// is written into the index that the version's tag names (see Registry.Tag),
// around the image and not into it.
//
//	/model        the model's folder, and the working directory
//	/environment  Python's packages, on PYTHONPATH; its bin on PATH
package image
