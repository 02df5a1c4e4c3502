package bundle

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/statesync/statesync/daemon/internal/keyfile"
	"github.com/statesync/statesync/daemon/internal/plain"
)

const (
	maxKeys    = 100      // that a file may have
	maxKeyFile = 64 << 10 // bytes
	maxName    = 128      // bytes of a signer's name
)

// Keys are the public keys whose signatures count.
type Keys struct {
	verifiers note.Verifiers
	ids       map[string]bool // "NAME+HASH"
	names     map[string]bool
}

// Signers is how many different names the keys have.
func (k *Keys) Signers() int { return len(k.names) }

// ReadKeys reads a file of public keys.
func ReadKeys(file string) (*Keys, error) {
	text, err := keyfile.Read(file, maxKeyFile)
	if err != nil {
		return nil, err
	}
	keys, err := ParseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", plain.Text(file), err)
	}
	return keys, nil
}

// ParseKeys reads public keys, one a line. Empty lines, and those that begin with a #, do
// not count. The error begins with the number of the line.
//
// A name may have several keys, which is how keys are rotated. A key under two names would
// be two signers, and two keys of one name with the same hash could not be told apart:
// both are errors.
func ParseKeys(text string) (*Keys, error) {
	k := &Keys{ids: map[string]bool{}, names: map[string]bool{}}
	owners := map[string]string{} // by key
	var list []note.Verifier
	err := keyfile.Lines([]byte(text), func(_ int, line string) error {
		if strings.HasPrefix(line, "PRIVATE+KEY+") {
			return errors.New("is a private key; give the public one, and replace this one, which others may have read")
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return fmt.Errorf("is not a public key as statesync bundle keygen writes it (%w)", err)
		}
		name := v.Name()
		if err := CheckName(name); err != nil {
			return err
		}
		id := fmt.Sprintf("%s+%08x", name, v.KeyHash())
		raw, err := base64.StdEncoding.DecodeString(line[len(id)+1:])
		if err != nil {
			return fmt.Errorf("is not a public key (%w)", err)
		}
		key := string(raw)
		switch other, known := owners[key]; {
		case known && other != name:
			return fmt.Errorf("is the key of %s under another name, which would count as two signers; remove one", other)
		case known:
			return errors.New("is a key that the file has already; remove one")
		case k.ids[id]:
			return fmt.Errorf("is another key with the name and the hash %s; make a new key", id)
		case len(list) == maxKeys:
			return fmt.Errorf("there are more than %d keys", maxKeys)
		}
		owners[key], k.ids[id], k.names[name] = name, true, true
		list = append(list, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("1: there is no key in it")
	}
	k.verifiers = note.VerifierList(list...)
	return k, nil
}

// CheckName returns what is wrong with a signer's name.
func CheckName(name string) error {
	if !isWord(name, maxName) || strings.Contains(name, "+") {
		return fmt.Errorf("%s is not a signer's name: 1 to %d printable characters of ASCII without spaces and +, such as ops@example.com", plain.Quote(name), maxName)
	}
	return nil
}

// GenerateKey makes a key, whose name and hash none of the others has. others may be nil.
func GenerateKey(name string, others *Keys) (private, public string, err error) {
	if err := CheckName(name); err != nil {
		return "", "", err
	}
	for {
		private, public, err = note.GenerateKey(rand.Reader, name)
		if err != nil || others == nil {
			return private, public, err
		}
		if id := public[:len(name)+1+8]; !others.ids[id] {
			return private, public, nil
		}
	}
}

// ReadSigner reads the file of a private key, which no other user may be able to open.
func ReadSigner(file string) (note.Signer, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", plain.Text(file))
	case info.Mode()&0o077 != 0:
		return nil, fmt.Errorf("other users can open the private key %s (mode %04o); chmod 600 it, and make a new one if one of them may have it",
			plain.Text(file), info.Mode().Perm())
	}
	text, err := keyfile.Read(file, maxKeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err == nil {
		err = CheckName(signer.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a private key as statesync bundle keygen writes it", plain.Text(file))
	}
	return signer, nil
}
