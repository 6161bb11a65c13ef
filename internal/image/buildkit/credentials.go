package buildkit

import (
	"context"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session/auth/authprovider"
)

// registry is a registry as keychains know it.
type registry string

// String implements authn.Resource.
func (r registry) String() string { return string(r) }

// RegistryStr implements authn.Resource.
func (r registry) RegistryStr() string { return string(r) }

// credentials looks registries' credentials up, each time it is asked: helpers
// hand out some that end within minutes.
func credentials(keychain authn.Keychain) authprovider.AuthConfigProvider {
	return func(ctx context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
		if host == authprovider.DockerHubRegistryHost {
			host = name.DefaultRegistry
		}
		found, err := authn.Resolve(ctx, keychain, registry(host))
		if err != nil {
			return types.AuthConfig{}, err
		}
		config, err := authn.Authorization(ctx, found)
		if err != nil {
			return types.AuthConfig{}, err
		}
		return types.AuthConfig{
			Username: config.Username, Password: config.Password, IdentityToken: config.IdentityToken, RegistryToken: config.RegistryToken,
		}, nil
	}
}
