package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"modelmanager.dev"
)

// Claims are what a token says of itself. Nobody has checked them: they help
// to choose whom to ask, and to say sooner what is wrong.
type Claims struct {
	Issuer   string
	Audience []string
	Expires  time.Time // zero: it doesn't say
}

// ReadClaims reads the claims of a JSON Web Token; false if it isn't one.
func ReadClaims(token string) (Claims, bool) {
	var none Claims
	_, rest, found := strings.Cut(token, ".")
	payload, signature, signed := strings.Cut(rest, ".")
	if !found || !signed || strings.Contains(signature, ".") {
		return none, false
	}
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return none, false
	}
	var body struct {
		Issuer   string       `json:"iss"`
		Audience oneOrMore    `json:"aud"`
		Expires  *json.Number `json:"exp"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return none, false
	}
	claims := Claims{Issuer: body.Issuer, Audience: body.Audience}
	if body.Expires != nil {
		seconds, err := body.Expires.Float64()
		if err != nil || seconds < 0 || seconds > 1<<40 {
			return none, false
		}
		claims.Expires = time.Unix(int64(seconds), 0)
	}
	return claims, true
}

// oneOrMore is a claim that is a string or a list of them.
type oneOrMore []string

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*o = []string{""}
		return json.Unmarshal(data, &(*o)[0])
	}
	return json.Unmarshal(data, (*[]string)(o))
}

// byIssuer sends each token to the one who can know it.
type byIssuer struct {
	issuers map[string]Authenticator
	other   Authenticator
}

// ByIssuer chooses an Authenticator by the issuer that a token names; other
// gets the tokens that name none of these, or none. A token that says that it
// has ended is refused without asking anybody.
func ByIssuer(other Authenticator, issuers map[string]Authenticator) Authenticator {
	return &byIssuer{issuers: issuers, other: other}
}

// Authenticate implements Authenticator.
func (b *byIssuer) Authenticate(ctx context.Context, token string) (Identity, error) {
	claims, ok := ReadClaims(token)
	if !ok {
		return b.other.Authenticate(ctx, token)
	}
	if !claims.Expires.IsZero() && !time.Now().Before(claims.Expires) {
		return Identity{}, modelmanager.Errorf(modelmanager.CodeUnauthenticated,
			"the token has expired, at %s; get a new one", claims.Expires.UTC().Format(time.RFC3339))
	}
	if chosen := b.issuers[claims.Issuer]; chosen != nil {
		return chosen.Authenticate(ctx, token)
	}
	return b.other.Authenticate(ctx, token)
}
