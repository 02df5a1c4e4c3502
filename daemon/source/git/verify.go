//go:build unix

package git

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/statesync/statesync/daemon/internal/plain"
)

// The values of verify=.
const (
	verifyCommit = "commit"
	verifyTag    = "tag"
)

const (
	beginSignature = "-----BEGIN SSH SIGNATURE-----"
	endSignature   = "-----END SSH SIGNATURE-----"
)

// untrustedError is the error of a commit that is not signed as it must be, or that does
// not descend from the last accepted one. What it depends on can change without the
// commit, so it is looked at again at each poll.
type untrustedError struct{ what string }

func (e *untrustedError) Error() string { return e.what }

func untrustedf(format string, args ...any) error {
	return &untrustedError{fmt.Sprintf(format, args...)}
}

func untrusted(err error) bool {
	var u *untrustedError
	return errors.As(err, &u)
}

// verify returns a revision's signed object and its signer, and nil if signatures are not
// looked at.
func (s *gitSource) verify(got revision) (*signedObject, string, error) {
	if s.remote.verify == "" {
		return nil, "", nil
	}
	allowed, err := readSigners(s.remote.signers, s.remote.revoked)
	if err != nil {
		return nil, "", err
	}
	data := []byte(got.object)
	if err := hashes("commit", got.commit, data); err != nil {
		return nil, "", err
	}
	what := "the commit " + string(got.commit)
	var signed *signedObject
	if s.remote.verify == verifyCommit {
		signed, err = splitCommit(got.commit.algorithm(), data)
	} else {
		what = "the tag " + got.ref
		signed, err = splitTag(got)
	}
	if err != nil && !untrusted(err) {
		return nil, "", err
	}
	var by *signer
	if err == nil {
		by, err = signed.verify(allowed, time.Now())
	}
	if err != nil {
		return nil, "", untrustedf("%s cannot be trusted: %v", what, err)
	}
	return signed, plain.Line(by.name, maxText) + " " + ssh.FingerprintSHA256(by.key), nil
}

// hashes checks that an object is the one that its name says.
func hashes(kind string, name oid, data []byte) error {
	object := append(fmt.Appendf(nil, "%s %d\x00", kind, len(data)), data...)
	sum := sha1.Sum(object)
	got := hex.EncodeToString(sum[:])
	if name.algorithm() == "sha256" {
		sum := sha256.Sum256(object)
		got = hex.EncodeToString(sum[:])
	}
	if got != string(name) {
		return fmt.Errorf("%w: the %s %s has the content of %s", errDamaged, kind, name, got)
	}
	return nil
}

// signedObject is a commit or a tag, taken apart.
type signedObject struct {
	payload   []byte // what was signed
	signature []byte // armored
	at        time.Time
}

// verify returns the signer of an object.
func (o *signedObject) verify(allowed *signers, now time.Time) (*signer, error) {
	text := strings.TrimSuffix(string(o.signature), "\n")
	switch {
	case strings.HasPrefix(text, "-----BEGIN PGP"), strings.HasPrefix(text, "-----BEGIN SIGNED MESSAGE"):
		return nil, errors.New("its signature is of OpenPGP or X.509, which are not supported; sign with an SSH key (git config gpg.format ssh)")
	case !strings.HasPrefix(text, beginSignature+"\n"), !strings.HasSuffix(text, "\n"+endSignature), strings.Count(text, "-----") != 4:
		return nil, errors.New("its signature is not one of an SSH key alone")
	}
	signature, err := sshsig.Unarmor(o.signature) // it refuses RSA with SHA-1
	if err != nil {
		return nil, fmt.Errorf("its signature cannot be read: %w", err)
	}
	if signature.Namespace != namespace {
		return nil, fmt.Errorf("its signature is for the namespace %s, and not for %s", plain.Quote(signature.Namespace), namespace)
	}
	if err := usable(signature.PublicKey); err != nil {
		return nil, err
	}
	by, err := allowed.find(signature.PublicKey, o.at, now)
	if err != nil {
		return nil, err
	}
	if err := sshsig.Verify(bytes.NewReader(o.payload), signature, by.key, signature.HashAlgorithm, namespace); err != nil {
		return nil, fmt.Errorf("its signature does not fit it: %w", err)
	}
	return by, nil
}

// splitCommit takes a commit apart. The one header with the signature is that of the
// repository's hash: git ignores others, and so they could be anything.
func splitCommit(algorithm string, data []byte) (*signedObject, error) {
	own, other := "gpgsig", "gpgsig-sha256"
	if algorithm == "sha256" {
		own, other = other, own
	}
	head, body, ok := bytes.Cut(data, []byte("\n\n"))
	if !ok {
		return nil, untrustedf("it has no message")
	}
	o := &signedObject{}
	var payload, signature bytes.Buffer
	times, inside := 0, false
	for line := range bytes.Lines(append(bytes.Clone(head), '\n')) {
		name, value, _ := strings.Cut(string(line), " ")
		switch {
		case name == "" && inside:
			signature.WriteString(value)
			continue
		case name == other:
			return nil, untrustedf("it has a header %s, which is of another kind of repository", other)
		case name == own && signature.Len() > 0:
			return nil, untrustedf("it has two signatures")
		case name == own:
			inside = true
			signature.WriteString(value)
			continue
		case name == "committer":
			times++
			_, at, ok := cutTime(strings.TrimSuffix(value, "\n"))
			if !ok {
				return nil, untrustedf("it has no valid time")
			}
			o.at = at
		}
		inside = false
		payload.Write(line)
	}
	switch {
	case signature.Len() == 0:
		return nil, untrustedf("it is not signed")
	case times != 1:
		return nil, untrustedf("it has %d committers", times)
	}
	payload.WriteByte('\n')
	payload.Write(body)
	o.payload, o.signature = payload.Bytes(), signature.Bytes()
	return o, nil
}

// splitTag takes the tag of a revision apart, which must be of the commit and have the
// name of the ref: a tag that was signed for another name says nothing of this one.
func splitTag(got revision) (*signedObject, error) {
	if got.tip == got.commit {
		return nil, untrustedf("it is not annotated, and so cannot be signed")
	}
	data := []byte(got.tag)
	if err := hashes("tag", got.tip, data); err != nil {
		return nil, err
	}
	head, body, ok := bytes.Cut(data, []byte("\n\n"))
	if !ok {
		return nil, untrustedf("it has no message")
	}
	o := &signedObject{}
	fields := map[string]string{}
	for line := range strings.SplitSeq(string(head), "\n") {
		name, value, _ := strings.Cut(line, " ")
		if _, twice := fields[name]; twice || name == "" || strings.HasPrefix(name, "gpgsig") {
			return nil, untrustedf("it has an odd header %s", plain.Quote(name))
		}
		fields[name] = value
	}
	name := strings.TrimPrefix(got.ref, tagPrefix)
	switch {
	case fields["object"] != string(got.commit) || fields["type"] != "commit":
		return nil, untrustedf("it is not of a commit")
	case fields["tag"] != name:
		return nil, untrustedf("it was made as %s, and not as %s", plain.Quote(fields["tag"]), plain.Quote(name))
	}
	if _, o.at, ok = cutTime(fields["tagger"]); !ok {
		return nil, untrustedf("it has no valid time")
	}
	begin := bytes.Index(append([]byte("\n"), body...), []byte("\n-----BEGIN "))
	if begin < 0 {
		return nil, untrustedf("it is not signed")
	}
	at := len(data) - len(body) + begin
	o.payload, o.signature = data[:at], data[at:]
	return o, nil
}

// floor returns the commit that was accepted last, if later ones must descend from it.
func (s *gitSource) floor() (oid, error) {
	if !s.remote.forward {
		return "", nil
	}
	commit, err := s.opt.Floor.Get()
	if err == nil && commit != "" && !IsObject(commit) {
		err = fmt.Errorf("it is %s", plain.Quote(commit))
	}
	if err != nil {
		return "", fmt.Errorf("the last accepted commit cannot be read: %w", err)
	}
	return oid(commit), nil
}

// descends checks that a commit descends from the last accepted one, which it returns.
func (s *gitSource) descends(ctx context.Context, commit oid) (oid, error) {
	floor, err := s.floor()
	if err != nil || floor == "" || floor == commit {
		return floor, err
	}
	err = s.repo.git.run(ctx, call{args: []string{"merge-base", "--is-ancestor", string(floor), string(commit)}})
	var exit *exitError
	switch {
	case err == nil:
		return floor, nil
	case !errors.As(err, &exit):
		return "", err
	case exit.code != 1 && s.repo.begun != floor:
		// It lacks the last accepted commit, which may be one that an operator accepted
		// meanwhile. A repository that begins with it has it, if the remote has it.
		s.repo.root = floor
		return "", fmt.Errorf("%w: it lacks the commit %s", errDamaged, floor)
	}
	return "", untrustedf("the commit %s does not descend from %s, which was accepted last: the branch was rewritten, or the server "+
		"has an older state; if the branch was rewritten on purpose, run statesync accept SOURCE %s", commit, floor, commit)
}

// raise makes a commit the one that was accepted last.
func (s *gitSource) raise(from, to oid) error {
	if !s.remote.forward || from == to {
		return nil
	}
	if err := s.opt.Floor.Raise(string(from), string(to)); err != nil {
		return fmt.Errorf("the commit %s is held back until it can be stored as the last accepted one: %w", to, err)
	}
	return nil
}
