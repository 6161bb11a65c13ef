package cli

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"modelmanager.dev"
	"modelmanager.dev/internal/proc"
	"modelmanager.dev/internal/spec"
)

// contain keeps what models do while they are tried from this process and from
// the machine: it is called before anything is started, and the end that it
// returns when nothing is needed any more (see adoptChildren). The token is known
// by then; what is started, such as git, whose memory is open, doesn't inherit it.
func (g *global) contain() (end func(), err error) {
	if err := g.secrets.Take(); err != nil {
		return nil, err
	}
	if err := proc.Seal(); err != nil {
		return nil, err
	}
	if err := os.Unsetenv(tokenVariable); err != nil {
		return nil, err
	}
	return adoptChildren(), nil
}

// Secrets are the variables that models may be given while they are tried.
type Secrets struct {
	names  []string
	values map[string]string
}

// Add adds the flag --secret, with more to say of it before its text.
func (s *Secrets) Add(flags *pflag.FlagSet, before string) {
	flags.StringArrayVar(&s.names, "secret", nil, before+"NAME of a variable that models whose model.yaml names it under secrets: are given while they are tried; may be given several times")
}

// Take reads the variables, and forgets them: what is started doesn't inherit them.
func (s *Secrets) Take() error {
	s.values = map[string]string{}
	for _, name := range s.names {
		value, ok := os.LookupEnv(name)
		if !ok {
			return usageError{fmt.Errorf("--secret %s: there is no such variable; set it, or set it to a stand-in: %s=none", name, name)}
		}
		s.values[name] = value
	}
	for name := range s.values {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	return nil
}

// Of is for pipeline.Validator.
func (s *Secrets) Of(secret spec.Secret) (value string, err error) {
	value, ok := s.values[secret.Env]
	if !ok {
		return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec,
			"it wants the variable %s, and models get none that --secret doesn't name: --secret %s gives it to the models that name it", secret.Env, secret.Env)
	}
	return value, nil
}
