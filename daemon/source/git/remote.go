//go:build unix

package git

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/internal/keyfile"
	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/internal/web"
	"github.com/statesync/statesync/daemon/source"
)

// remote is what a spec names: a repository, a ref of it, and a folder.
type remote struct {
	url    *url.URL
	ref    string // "refs/heads/main", or a pattern: "refs/tags/prod-*"
	name   string // the same as the spec has it: "main"
	newest bool   // ref is a pattern, and the newest tag of it is followed
	folder string // without a slash at its end; "": all

	credentials string // absolute paths of files; "": none
	knownHosts  string
	key         string

	forward bool   // a commit must descend from the one that was accepted last
	verify  string // verifyCommit or verifyTag; "": signatures are not looked at
	signers string // paths as above
	revoked string
}

const (
	defaultRef = "main"
	tagPrefix  = "refs/tags/"
	maxPath    = 4096 // bytes
)

// parse reads a spec. The error is the end of a sentence that begins with the source.
func parse(spec source.Spec) (*remote, error) {
	r := &remote{name: defaultRef}
	if spec.Address == "" {
		return nil, errors.New("names no repository; write git:URL, such as git:https://example.com/config.git")
	}
	if err := r.setURL(spec.Address); err != nil {
		return nil, err
	}
	if name, ok := spec.Options["ref"]; ok {
		r.name = name
	}
	if r.ref = r.name; !strings.HasPrefix(r.name, "refs/") {
		r.ref = "refs/heads/" + r.name
	}
	if !isRef(r.ref) {
		return nil, fmt.Errorf("has ref=%s, which is not the name of a branch, such as main, or of another ref, such as refs/tags/v1", plain.Quote(r.name))
	}
	if folder, ok := spec.Options["path"]; ok {
		if r.folder = strings.Trim(folder, "/"); !source.IsPath(r.folder, maxPath) {
			return nil, fmt.Errorf("has path=%s, which is not a folder of the repository, such as prod", plain.Quote(folder))
		}
	}
	if err := r.setFiles(spec); err != nil {
		return nil, err
	}
	ff, ok := spec.Options["ff"]
	if ok && ff != "only" {
		return nil, fmt.Errorf("has ff=%s; give ff=only, or leave it out", plain.Quote(ff))
	}
	r.forward = ok
	return r, r.setVerify(spec)
}

// setVerify reads the options about signatures.
func (r *remote) setVerify(spec source.Spec) (err error) {
	what, asked := spec.Options["verify"]
	if kind, pattern, ok := strings.Cut(what, "="); ok && kind == verifyTag {
		if _, ok := spec.Options["ref"]; ok {
			return errors.New("has ref= beside verify=tag=PATTERN, which says which tags are followed; remove ref=")
		}
		if strings.Count(pattern, "*") != 1 || !isRef(tagPrefix+strings.Replace(pattern, "*", "0", 1)) {
			return fmt.Errorf("has verify=tag=%s; the pattern is the name of a tag with one *, such as prod-*", plain.Quote(pattern))
		}
		what, r.ref, r.newest = verifyTag, tagPrefix+pattern, true
		r.name = r.ref
	}
	switch {
	case asked && what != verifyCommit && what != verifyTag:
		return fmt.Errorf("has verify=%s; give commit, tag or tag=PATTERN", plain.Quote(spec.Options["verify"]))
	case what == verifyTag && !strings.HasPrefix(r.ref, tagPrefix):
		return errors.New("has verify=tag, and its ref= is not a tag; give ref=refs/tags/NAME, or verify=tag=PATTERN such as tag=prod-*")
	case asked && spec.Options["signers"] == "":
		return errors.New("has verify= without signers=FILE, the file of the allowed signers")
	}
	for option, file := range map[string]*string{"signers": &r.signers, "revoked": &r.revoked} {
		name, ok := spec.Options[option]
		switch {
		case !ok:
			continue
		case !asked:
			return fmt.Errorf("has the option %s without verify=", option)
		case name == "":
			return fmt.Errorf("has the option %s without a file", option)
		}
		if *file, err = filepath.Abs(name); err != nil {
			return fmt.Errorf("has %s=%s: %w", option, plain.Quote(name), err)
		}
	}
	r.verify, r.forward = what, r.forward || asked
	return nil
}

// setURL reads the repository's URL.
func (r *remote) setURL(address string) error {
	u, err := web.ParseURL(address, "https://example.com/config.git")
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "https", "http":
		if u.User != nil {
			return errors.New("has a user or a password in its URL, which other users would see among the processes; " +
				"write it into a file, and give that as credentials=FILE")
		}
	case "ssh":
		if _, ok := u.User.Password(); ok {
			return errors.New("has a password in its URL, which other users would see among the processes; give a key as key=FILE")
		}
		if name := u.User.Username(); strings.HasPrefix(name, "-") || strings.ContainsFunc(name, unicode.IsSpace) {
			return fmt.Errorf("has the user %s in its URL, which is not a name", plain.Quote(name))
		}
	case "file":
		if u.Host != "" || !path.IsAbs(u.Path) {
			return errors.New("has a file URL without an absolute path; write git:file:///srv/config.git")
		}
	case "":
		return errors.New("has a URL without a scheme; write https://HOST/PATH, ssh://USER@HOST/PATH or file:///PATH")
	default:
		return fmt.Errorf("has a URL of the scheme %s; give one of https, http, ssh and file (USER@HOST:PATH is written ssh://USER@HOST/PATH)",
			plain.Quote(u.Scheme))
	}
	switch {
	case u.Scheme != "file" && (u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-")):
		return errors.New("has a URL without a host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("has a ? or a # in its URL, which no repository's has; options are written after a ? that is not encoded")
	case strings.ContainsFunc(u.Path, unicode.IsControl):
		return errors.New("has a control character in its URL; remove it")
	}
	r.url = u
	return nil
}

// setFiles reads the options that name files.
func (r *remote) setFiles(spec source.Spec) (err error) {
	for _, f := range []struct {
		option, scheme string
		path           *string
	}{
		{"credentials", "http", &r.credentials},
		{"known-hosts", "ssh", &r.knownHosts},
		{"key", "ssh", &r.key},
	} {
		name, ok := spec.Options[f.option]
		applies := strings.TrimSuffix(r.url.Scheme, "s") == f.scheme
		switch {
		case ok && !applies && f.scheme == "http":
			return fmt.Errorf("has the option %s, which is for https; over ssh give key=FILE and known-hosts=FILE", f.option)
		case ok && !applies:
			return fmt.Errorf("has the option %s, which is for ssh", f.option)
		case ok && name == "":
			return fmt.Errorf("has the option %s without a file", f.option)
		case !ok && applies && f.scheme == "ssh":
			return fmt.Errorf("has no %s=FILE; over ssh the private key is from key=FILE and the host's key from known-hosts=FILE, "+
				"and neither from an agent nor from a home directory", f.option)
		case !ok:
			continue
		}
		if *f.path, err = filepath.Abs(name); err != nil {
			return fmt.Errorf("has %s=%s: %w", f.option, plain.Quote(name), err)
		}
		if f.scheme == "ssh" && strings.ContainsAny(*f.path, " \t\n\"'\\%$~") {
			return fmt.Errorf("has %s=%s; ssh takes no path with white space, quotes, or one of \\ %% $ ~", f.option, plain.Quote(name))
		}
	}
	if r.credentials != "" && r.url.Scheme == "http" && !web.Loopback(r.url) {
		return errors.New("has credentials for a URL that is not encrypted; write https")
	}
	return nil
}

// pattern is that of verify=tag=PATTERN.
func (r *remote) pattern() string { return strings.TrimPrefix(r.ref, tagPrefix) }

// identity is what the directory and the floor of a source are known by: whatever else
// changes of the source, they are about the same history.
func (r *remote) identity() string { return "git:" + r.url.String() + "?ref=" + r.ref }

// isRef reports whether a text is a ref's full name, by the rules of git check-ref-format.
func isRef(name string) bool {
	if !strings.HasPrefix(name, "refs/") || len(name) > 255 || !utf8.ValidString(name) || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.ContainsAny(name, " ~^:?*[\\\x7f") ||
		strings.ContainsFunc(name, unicode.IsControl) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// authorization reads the credentials file, and returns the value of the header
// Authorization and what of it no message may contain.
func (r *remote) authorization() (header string, secrets []string, err error) {
	if r.credentials == "" {
		return "", nil, nil
	}
	text, err := keyfile.ReadSecret(r.credentials)
	if err != nil {
		return "", nil, fmt.Errorf("the credentials: %w", err)
	}
	user, password, ok := strings.Cut(text, ":")
	if !ok || user == "" || password == "" || strings.ContainsFunc(text, unicode.IsControl) {
		return "", nil, fmt.Errorf("the credentials: %s is not one line USER:PASSWORD; a token is the password", plain.Text(r.credentials))
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(text))
	return "Basic " + encoded, []string{encoded, text, password}, nil
}

// ssh is the command that git runs for ssh. Everything that would be read from a home
// directory or an agent is turned off.
func (r *remote) ssh() string {
	options := []string{
		"BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=" + r.knownHosts, "GlobalKnownHostsFile=/dev/null",
		"UpdateHostKeys=no", "IdentityFile=" + r.key, "IdentitiesOnly=yes", "IdentityAgent=none", "PreferredAuthentications=publickey",
		"ForwardAgent=no", "ClearAllForwardings=yes", "ControlMaster=no", "ControlPath=none", "PermitLocalCommand=no",
		"ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3",
	}
	return "ssh -F /dev/null -o " + strings.Join(options, " -o ")
}
