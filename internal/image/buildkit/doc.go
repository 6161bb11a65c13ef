// Package buildkit builds images of Dockerfiles through a BuildKit daemon, here
// or elsewhere, which pushes them itself.
//
// The same folder and Dockerfile on the same base are the same image, byte for
// byte, as far as the steps' own programs allow it: files carry no times, times
// in images are the epoch, and nothing of the machine, the folder's path, the
// commit or the clock goes into an image. What a step fetches from a network is
// as reproducible as what it names.
//
// The daemon is trusted: it runs the steps, and it pushes. Passwords of registries
// stay here, and it gets tokens, wherever a registry hands out tokens.
package buildkit
