// Package git is the source "git:URL": the files of a commit, by the git binary.
//
// # What is in a snapshot
//
// The files below path= of the commit that ref= names, by the rules of a directory
// (package dir): the same names are ignored, and a symlink leads to a file of the source by
// a relative target that passes no other symlink. Submodules, pointers of Git LFS, names
// that are not UTF-8 and what exceeds a limit of Options are refused, before anything is
// read. A commit is read as a whole or refused as a whole. The same files have the same
// digest, whether they come from a directory or from a repository. The Version is
// "REF@sha1:COMMIT" or "REF@sha256:COMMIT", and Meta has the commit, its author, the time
// of the committer, the subject, and with verify= the signer. Commits has the commit that
// last changed a file, as far as git log finds it in what was fetched.
//
// # How it is fetched
//
// The git binary fetches one ref into a bare repository in Options.StateDir, without a work
// tree: the tree is listed by ls-tree and the blobs are read by cat-file, so that no
// attribute, filter or hook takes effect. The first fetch brings one commit, each later one
// what is new. After 64 changes the history is cut off, and the objects are repacked.
//
// Over http and https a look is one request: the command ls-refs of Git's protocol version
// 2. If it says that the ref names what was fetched last, nothing else is done. Whatever
// else it says is left to git, and so is a look five minutes after git fetched last. What a
// ref names now is asked for by one more request, the command fetch, and git index-pack
// checks and keeps the pack: git fetch starts four programs and a second connection for that.
// An answer that is not as usual is left to git fetch. Over ssh and file each look is a
// fetch, or with verify=tag=PATTERN one of ls-remote.
//
// # What is promised
//
// git runs with an environment made from scratch: no configuration of the system or of a
// user, no prompt, no redirect, no protocol but that of the URL. Secrets are in files and in
// the environment of git, never in its arguments, nor in an error. The processes of a
// command are a process group, which ends with its time limit, with the context, and with
// this process. The size of a file that a fetch writes is limited.
//
// With ff=only a commit counts only if it descends from the one that was accepted last,
// which Options.Floor keeps before the commit becomes a snapshot. With verify= this holds
// as well, and an allowed signer must have signed the commit, or the tag that ref= names,
// or the newest tag of a pattern. That is the one tag whose name has the highest version in
// the place of the *; if it may not be followed, no lower one is. Of all tags that a remote
// has, that one is fetched.
// The signature is verified here, on the object as it is stored: git verify-commit accepts
// a commit of an expired key that is dated back, a second signature, and one in a header
// that it does not look at.
//
// The repository is a cache. What a killed fetch left is removed at the start and after a
// failure; a repository that is damaged is deleted and fetched anew.
package git
