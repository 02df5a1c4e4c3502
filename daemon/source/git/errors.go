//go:build unix

package git

import (
	"errors"
	"fmt"

	"github.com/statesync/statesync/daemon/source"
)

// commitError is the error of a commit that cannot become a snapshot, however often it is
// read.
type commitError struct{ what string }

func (e *commitError) Error() string { return e.what }

func refusef(format string, args ...any) error { return &commitError{fmt.Sprintf(format, args...)} }

// refuses reports whether an error is about the commit, and not about reading it: the same
// commit is not read again.
func refuses(err error) bool {
	var file *source.FileError
	var commit *commitError
	return errors.As(err, &file) || errors.As(err, &commit) || errors.Is(err, source.ErrEmpty) || untrusted(err)
}

// advices say what to do about what git says.
var advices = []struct{ says, do string }{
	{"Host key verification failed", "the file of known-hosts= needs the host's key, as ssh-keyscan writes it"},
	{"Permission denied (publickey", "the host does not accept the key of key=FILE"},
	{"cannot run ssh", "install the package openssh-client"},
	{"ssh: not found", "install the package openssh-client"},
	{"No user exists for uid", "ssh needs the daemon's user to be in /etc/passwd"},
	{"dubious ownership", "the repository must belong to the daemon's user"},
	{"unable to follow redirect", "redirects are not followed; write the URL that it leads to"},
	{"requested URL returned error: 30", "redirects are not followed; write the URL that it leads to"},
	{"unknown option `stdin'", "git 2.29 or newer is needed"},
}

// advise adds to the error of a fetch what to do, and makes it match source.ErrUnreachable
// if the remote could not be asked.
func (s *gitSource) advise(err error) error {
	var exit *exitError
	switch {
	case errors.Is(err, errTimeLimit):
		return source.Unreachable(err)
	case !errors.As(err, &exit) || exit.command != "git fetch" && exit.command != "git ls-remote":
		return err
	case said(err, "couldn't find remote ref"):
		return fmt.Errorf("the repository has no %s; push it, or correct ref=", s.remote.ref)
	case said(err, "died of signal 25"), said(err, "File too large"):
		return fmt.Errorf("what it has to fetch is larger than %d bytes; make the repository smaller: %w", s.repo.maxFile, err)
	}
	if said(err, "could not read Username") || said(err, "Authentication failed") {
		what := "give credentials=FILE"
		if s.remote.credentials != "" {
			what = "correct the file of credentials="
		}
		return source.Unreachable(fmt.Errorf("%w; %s", err, what))
	}
	for _, a := range advices {
		if said(err, a.says) {
			err = fmt.Errorf("%w; %s", err, a.do)
			break
		}
	}
	return source.Unreachable(err)
}
