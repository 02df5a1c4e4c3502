//go:build unix

package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/internal/web"
	"github.com/statesync/statesync/daemon/source"
)

// How often a remote is looked at without interval=.
const (
	defaultInterval = 10 * time.Second
	sshInterval     = time.Minute // a look costs 125 ms of CPU
	// trustTime is how long a remote that says that nothing changed is believed without a
	// fetch.
	trustTime = 5 * time.Minute
)

// Scheme is the scheme of Git repositories, "git:URL".
var Scheme = source.Scheme{
	Name:    "git",
	Address: "URL",
	Options: []source.OptionDoc{
		{Name: "ref", What: "the branch, or another ref such as refs/tags/v1 (default main)"},
		{Name: "path", What: "the folder of the repository that the configs are in (default all)"},
		{Name: "ff", What: "only: the branch may only move forward, and a rewritten one is refused (default: it is followed)"},
		{Name: "verify", What: "commit or tag: what must be signed by an allowed signer; tag=PATTERN, such as tag=v*, follows the newest tag; it implies ff=only"},
		{Name: "signers", What: "the file of the allowed signers, as ssh-keygen reads it"},
		{Name: "revoked", What: "a file of public keys that do not count, one a line"},
		{Name: "credentials", What: "a file with USER:PASSWORD, for https"},
		{Name: "key", What: "the file of the private key, for ssh"},
		{Name: "known-hosts", What: "the file of the hosts' keys, for ssh"},
	},
	Check: func(spec source.Spec) error {
		_, err := parse(spec)
		return err
	},
	Identity: func(spec source.Spec) string {
		r, err := parse(spec)
		if err != nil {
			return spec.Text
		}
		return r.identity()
	},
	Interval: func(spec source.Spec) time.Duration {
		if r, err := parse(spec); err == nil && r.url.Scheme == "ssh" {
			return sshInterval
		}
		return defaultInterval
	},
	Floor: func(spec source.Spec) source.FloorKind {
		if r, err := parse(spec); err != nil || !r.forward {
			return source.NoFloor
		}
		return source.CommitFloor
	},
	Open: Open,
}

// gitSource is the source "git:URL".
type gitSource struct {
	opt    source.Options
	name   string // "git:URL", for messages
	remote *remote
	repo   repository
	temp   string // the directory to be removed at the end; "": the state directory's is kept
	poll   *http.Client
	header string // Authorization

	mu     sync.Mutex
	closed bool

	// The rest belongs to the goroutine that calls Fetch.
	newest  *source.Snapshot
	known   map[oid][]byte // the contents that newest has
	seen    revision       // what the last fetch brought; zero: there was none since the start
	refused error          // why seen did not become a snapshot; nil: it did
	signed  *signedObject  // of newest; nil: signatures are not looked at
	recheck bool
	answers bool // a poll was answered
}

// Open returns the repository of a spec that passed Scheme.Check as a source. It touches
// neither the network nor the disk: that is for Fetch. Close may be called from any
// goroutine, and more than once.
func Open(spec source.Spec, o source.Options) (source.Source, error) {
	r, err := parse(spec)
	if err != nil {
		return nil, fmt.Errorf("source %s %w", plain.Quote(spec.Text), err)
	}
	s := &gitSource{opt: o.WithDefaults(), name: "git:" + plain.Text(r.url.String()), remote: r}
	s.repo = repository{remote: r, maxFile: max(maxFetched, s.opt.MaxTotal), git: binary{search: os.Getenv("PATH")}}
	if r.url.Scheme == "https" || r.url.Scheme == "http" {
		s.repo.ask = s.ask
	}
	if r.url.Scheme == "http" && !web.Loopback(r.url) {
		s.opt.Warn(fmt.Errorf("%s is not encrypted: what is on the way can change every config; use https", s.name))
	}
	return s, nil
}

// Hint returns nil: a repository is polled.
func (s *gitSource) Hint() <-chan struct{} { return nil }

// Recheck makes the next Fetch fetch, whatever the remote says of its ref. It belongs to
// the goroutine that calls Fetch.
func (s *gitSource) Recheck() { s.recheck = true }

// Close removes a temporary repository. It waits for no Fetch.
func (s *gitSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.poll != nil {
		s.poll.CloseIdleConnections()
	}
	if s.temp == "" {
		return nil
	}
	return os.RemoveAll(s.temp)
}

// Fetch asks the remote for its ref, fetches if that is another commit than the last time,
// and reads the tree of a new one.
func (s *gitSource) Fetch(ctx context.Context, have *source.Snapshot) (*source.Snapshot, error) {
	snapshot, err := s.fetch(ctx, have)
	if err == nil {
		return snapshot, nil
	}
	var file *source.FileError
	if errors.As(err, &file) { // each of them names its place
		return nil, err
	}
	return nil, fmt.Errorf("%s: %w", s.name, err)
}

func (s *gitSource) fetch(ctx context.Context, have *source.Snapshot) (*source.Snapshot, error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	polled, err := s.polled(ctx)
	if err != nil {
		return nil, err
	}
	if polled.is(s.seen) {
		return s.again(ctx, have)
	}
	floor, err := s.floor()
	if err != nil {
		return nil, err
	}
	s.repo.root = floor
	got, err := s.bring(ctx, polled)
	if err != nil {
		return nil, err
	}
	s.recheck = false
	if got == s.seen {
		return s.again(ctx, have)
	}
	return s.consider(ctx, got, have)
}

// consider makes a snapshot of a revision, and remembers what came of it.
func (s *gitSource) consider(ctx context.Context, got revision, have *source.Snapshot) (*source.Snapshot, error) {
	s.seen = revision{}
	snapshot, err := s.take(ctx, got, have)
	if errors.Is(err, errDamaged) {
		// What it lacks is not fetched as long as it has the commit.
		if err := s.repo.remove(); err != nil {
			return nil, err
		}
		if got, err = s.bring(ctx, ref{}); err == nil {
			snapshot, err = s.take(ctx, got, have)
		}
	}
	switch {
	case err == nil:
		s.seen, s.refused, s.newest = got, nil, snapshot
	case refuses(err):
		s.seen, s.refused = got, err
	}
	return snapshot, err
}

// again returns what became of the revision that was seen last. Whether it can be trusted
// depends on the time, and on files, and so is looked at again.
func (s *gitSource) again(ctx context.Context, have *source.Snapshot) (*source.Snapshot, error) {
	switch {
	case untrusted(s.refused):
		return s.consider(ctx, s.seen, have)
	case s.refused != nil:
		return nil, s.refused
	case s.signed == nil:
		return s.newest, nil
	}
	allowed, err := readSigners(s.remote.signers, s.remote.revoked)
	if err != nil {
		return nil, err
	}
	if _, err := s.signed.verify(allowed, time.Now()); err != nil {
		return nil, untrustedf("the commit %s cannot be trusted any more: %v", s.seen.commit, err)
	}
	return s.newest, nil
}

// prepare finds a directory for the repository, and reads the files that can be replaced
// while the source is followed.
func (s *gitSource) prepare() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	if s.repo.git.dir == "" {
		dir := s.opt.StateDir
		if dir == "" {
			temp, err := os.MkdirTemp("", "statesync-git-")
			if err != nil {
				return fmt.Errorf("making a directory for the repository: %w; give the daemon a state directory", err)
			}
			s.temp, dir = temp, temp
		}
		s.repo.git.dir = filepath.Join(dir, "repository.git")
	}
	var secrets []string
	var err error
	if s.header, secrets, err = s.remote.authorization(); err != nil {
		return err
	}
	b := &s.repo.git
	secrets = append(secrets, proxyPasswords()...)
	b.secrets, b.env, b.config = secrets, []string{"GIT_ALLOW_PROTOCOL=" + s.remote.url.Scheme}, nil
	switch s.remote.url.Scheme {
	case "ssh":
		b.env = append(b.env, "GIT_SSH_COMMAND="+s.remote.ssh(), "GIT_SSH_VARIANT=ssh")
	case "https", "http":
		b.env = append(b.env, network()...)
		if s.header != "" {
			b.config = append(b.config, [2]string{"http.extraHeader", "Authorization: " + s.header})
		}
	}
	return nil
}

// proxies are the variables that name them. curl does not read HTTP_PROXY.
var proxies = []string{"http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy"}

// proxyPasswords are those in the URLs of the proxies.
func proxyPasswords() (list []string) {
	for _, name := range proxies {
		if u, err := url.Parse(os.Getenv(name)); err == nil {
			if password, ok := u.User.Password(); ok && password != "" {
				list = append(list, password)
			}
		}
	}
	return list
}

// network is what of this process's environment says how the network is reached: proxies
// and certificates. The poll goes by the same.
func network() (env []string) {
	for _, name := range append(proxies, "NO_PROXY", "no_proxy") {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	if os.Getenv("http_proxy") == "" {
		if value := os.Getenv("HTTP_PROXY"); value != "" {
			env = append(env, "http_proxy="+value)
		}
	}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		env = append(env, "GIT_SSL_CAINFO="+file)
	}
	if dir, _, _ := strings.Cut(os.Getenv("SSL_CERT_DIR"), ":"); dir != "" {
		env = append(env, "GIT_SSL_CAPATH="+dir)
	}
	return env
}

// bring fetches what the remote has, which a poll may have said. A damaged repository is
// fetched anew, once.
func (s *gitSource) bring(ctx context.Context, from ref) (revision, error) {
	switch {
	case from.name != "":
	case !s.remote.newest:
		from.name = s.remote.ref
	default:
		var err error
		if from, err = s.repo.newestTag(ctx); err != nil {
			return revision{}, s.advise(err)
		}
		if from.is(s.seen) && !s.recheck {
			return s.seen, nil
		}
	}
	got, err := s.repo.fetch(ctx, from, s.seen.commit)
	if errors.Is(err, errDamaged) {
		if err := s.repo.remove(); err != nil {
			return revision{}, err
		}
		got, err = s.repo.fetch(ctx, from, s.seen.commit)
	}
	if err != nil {
		err = s.advise(err)
	}
	return got, err
}

// take makes a snapshot of a revision, and accepts it. The floor is raised last: a commit
// that cannot be read is none that later ones must descend from.
func (s *gitSource) take(ctx context.Context, got revision, have *source.Snapshot) (*source.Snapshot, error) {
	commit, data := got.commit, []byte(got.object)
	signed, by, err := s.verify(got)
	if err != nil {
		return nil, err
	}
	floor, err := s.descends(ctx, commit)
	if err != nil {
		return nil, err
	}
	files, known, err := s.read(ctx, commit)
	if err != nil {
		return nil, err
	}
	if have == nil {
		have = s.newest
	}
	name := s.remote.name
	if s.remote.newest {
		name = got.ref
	}
	name += "@" + commit.algorithm() + ":" + string(commit)
	snapshot := source.NewSnapshot(files, have, func(source.Digest) string { return name })
	if snapshot != have {
		snapshot.Meta = describe(commit, data)
		if by != "" {
			snapshot.Meta[keySigner] = by
		}
		snapshot.Commits = s.commits(ctx, snapshot, data, have)
	}
	if err := s.raise(floor, commit); err != nil {
		return nil, err
	}
	s.repo.accepted(ctx, commit)
	s.known, s.signed = known, signed
	return snapshot, nil
}
