package auth

// Size is how many answers are remembered.
func (a *Auth) Size() int {
	return len(a.identities.good.entries) + len(a.identities.bad.entries) + len(a.decisions.good.entries) + len(a.decisions.bad.entries)
}
