//go:build unix

package git

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/statesync/statesync/daemon/internal/keyfile"
	"github.com/statesync/statesync/daemon/internal/plain"
)

const (
	maxSigners = 1 << 20 // bytes of a file of signers, or of revoked keys
	minRSA     = 2048    // bits of a key
	namespace  = "git"   // of the signatures that git makes
)

// signer is one line of an allowed-signers file, as man ssh-keygen has it.
type signer struct {
	name   string // the principals
	key    ssh.PublicKey
	spaces []string  // namespaces; nil: all
	after  time.Time // zero: no limit
	before time.Time
	line   int
}

// signers are whose signatures count.
type signers struct {
	list    []signer
	revoked []ssh.PublicKey
}

// readSigners reads the files.
func readSigners(file, revoked string) (*signers, error) {
	text, err := keyfile.Read(file, maxSigners)
	if err != nil {
		return nil, fmt.Errorf("the allowed signers: %w", err)
	}
	s := &signers{}
	if s.list, err = parseSigners(text); err != nil {
		return nil, fmt.Errorf("the allowed signers: %s:%w", plain.Text(file), err)
	}
	if revoked == "" {
		return s, nil
	}
	if text, err = keyfile.Read(revoked, maxSigners); err != nil {
		return nil, fmt.Errorf("the revoked keys: %w", err)
	}
	if s.revoked, err = parseKeys(text); err != nil {
		return nil, fmt.Errorf("the revoked keys: %s:%w", plain.Text(revoked), err)
	}
	return s, nil
}

// parseKeys reads public keys, one a line.
func parseKeys(text []byte) (keys []ssh.PublicKey, err error) {
	if bytes.HasPrefix(text, []byte("SSHKRL")) {
		return nil, errors.New("1: it is a binary revocation list; give a file with a public key a line")
	}
	err = keyfile.Lines(text, func(_ int, line string) error {
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || len(options) > 0 {
			return errors.New("it is not a public key")
		}
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

// parseSigners reads an allowed-signers file. What is not known in it is an error: an
// option that were ignored could be one that restricts the key.
func parseSigners(text []byte) (list []signer, err error) {
	err = keyfile.Lines(text, func(n int, line string) error {
		s := signer{line: n}
		var rest string
		var err error
		if s.name, rest, err = cutWord(line); err != nil {
			return err
		}
		s.name = strings.ReplaceAll(s.name, `"`, "")
		word, after, err := cutWord(rest)
		if err != nil {
			return err
		}
		if !isKeyType(word) {
			if err := s.setOptions(word); err != nil {
				return err
			}
			rest = after
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
		if err != nil || len(options) > 0 {
			return errors.New("it has no public key after the principals and the options")
		}
		if err := usable(key); err != nil {
			return err
		}
		s.key = key
		list = append(list, s)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errors.New("1: it has no signer")
	}
	return list, err
}

// isKeyType reports whether a word is the type of a key.
func isKeyType(word string) bool {
	return slices.Contains([]string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
	}, word)
}

// usable refuses keys that are too weak, and certificates.
func usable(key ssh.PublicKey) error {
	if !isKeyType(key.Type()) {
		return fmt.Errorf("a key of the type %s does not count", plain.Quote(key.Type()))
	}
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	if r, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < minRSA {
		return fmt.Errorf("an RSA key of %d bits is too short; %d are the least", r.N.BitLen(), minRSA)
	}
	return nil
}

// cutWord splits a line at the first white space that is not within quotes.
func cutWord(line string) (word, rest string, err error) {
	quoted := false
	for i, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t') && !quoted:
			return line[:i], strings.TrimLeft(line[i:], " \t"), nil
		}
	}
	if quoted {
		return "", "", errors.New("it has a quote that does not end")
	}
	return line, "", nil
}

// setOptions reads NAME="VALUE",NAME.
func (s *signer) setOptions(text string) error {
	for text != "" {
		name, rest, valued := strings.Cut(text, "=")
		if comma := strings.IndexByte(text, ','); comma >= 0 && (!valued || comma < len(name)) {
			name, rest, valued = text[:comma], text[comma:], false
		} else if !valued {
			rest = ""
		}
		value := ""
		if valued {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, `"`); ok {
				value, rest, ok = strings.Cut(rest, `"`)
			}
			if !ok {
				return fmt.Errorf("the option %s has no value in quotes", plain.Quote(name))
			}
		}
		if err := s.setOption(strings.ToLower(name), value, valued); err != nil {
			return err
		}
		var more bool
		if text, more = strings.CutPrefix(rest, ","); !more && rest != "" || more && text == "" {
			return fmt.Errorf("it has %s after an option", plain.Quote(rest))
		}
	}
	return nil
}

func (s *signer) setOption(name, value string, valued bool) (err error) {
	switch {
	case name == "namespaces" && valued && s.spaces == nil:
		if s.spaces = strings.Split(value, ","); slices.ContainsFunc(s.spaces, func(n string) bool { return n == "" || strings.ContainsAny(n, "*?! ") }) {
			return fmt.Errorf("namespaces=%s is not a list of names; patterns are not supported", plain.Quote(value))
		}
	case name == "valid-after" && valued && s.after.IsZero():
		s.after, err = parseTime(value)
	case name == "valid-before" && valued && s.before.IsZero():
		s.before, err = parseTime(value)
	case name == "cert-authority":
		return errors.New("cert-authority is not supported; list the keys themselves")
	default:
		return fmt.Errorf("the option %s is not known, or is there twice", plain.Quote(name))
	}
	return err
}

// parseTime reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in UTC with a Z and else in
// local time, as ssh-keygen does.
func parseTime(value string) (time.Time, error) {
	text, utc := strings.CutSuffix(value, "Z")
	zone := time.Local
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(layout) == len(text) {
			if at, err := time.ParseInLocation(layout, text, zone); err == nil {
				return at, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%s is not a time such as 20060102 or 200601021504Z", plain.Quote(value))
}

// find returns the signer that a key belongs to at two times: when something was signed by
// its own account, and now. Both count: the first can be chosen by the holder of an
// expired key.
func (s *signers) find(key ssh.PublicKey, signed, now time.Time) (*signer, error) {
	same := func(other ssh.PublicKey) bool { return bytes.Equal(key.Marshal(), other.Marshal()) }
	name := ssh.FingerprintSHA256(key)
	if slices.ContainsFunc(s.revoked, same) {
		return nil, fmt.Errorf("its key %s is revoked", name)
	}
	err := fmt.Errorf("its key %s is not among the allowed signers", name)
	for i := range s.list {
		one := &s.list[i]
		if !same(one.key) {
			continue
		}
		switch {
		case one.spaces != nil && !slices.Contains(one.spaces, namespace):
			err = fmt.Errorf("its key %s is not for the namespace %s", name, namespace)
		case !one.before.IsZero() && !now.Before(one.before):
			err = fmt.Errorf("its key %s expired at %s", name, one.before.Format(time.RFC3339))
		case !one.before.IsZero() && !signed.Before(one.before):
			err = fmt.Errorf("it was made at %s, and its key %s expires at %s", signed.Format(time.RFC3339), name, one.before.Format(time.RFC3339))
		case now.Before(one.after):
			err = fmt.Errorf("its key %s is not valid before %s", name, one.after.Format(time.RFC3339))
		case signed.Before(one.after):
			err = fmt.Errorf("it was made at %s, and its key %s is not valid before %s", signed.Format(time.RFC3339), name, one.after.Format(time.RFC3339))
		default:
			return one, nil
		}
	}
	return nil, err
}
