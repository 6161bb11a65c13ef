package auth

import "crypto/rand"

// SignIn is one attempt of somebody to sign in at a provider with a browser,
// from when it is sent there until it comes back. All of it but Back is a
// secret of that browser's and ours.
type SignIn struct {
	Back     string `json:"back"`     // the page's address that the provider sends the browser back to
	State    string `json:"state"`    // comes back with the browser
	Nonce    string `json:"nonce"`    // stands in the token
	Verifier string `json:"verifier"` // proves that who redeems the code is who asked for it
}

// NewSignIn begins an attempt that ends at back.
func NewSignIn(back string) SignIn {
	// A verifier has 43 characters at least.
	return SignIn{Back: back, State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text()}
}
