package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// The release whose packages are unpacked, and they: Postgres, pgvector, and
// the libraries that they are linked with, libc included, so that they run on
// any machine of the architecture that has apt. A release of Debian keeps its
// versions but for security updates, whose predecessors vanish from the
// mirrors; so the release is pinned, not the last digits.
const release = "trixie"

var packages = []string{
	"postgresql-17", "postgresql-17-pgvector",
	"libaudit1", "libc6", "libcap-ng0", "libcap2", "libcom-err2", "libgcc-s1", "libgssapi-krb5-2", "libicu76", "libk5crypto3",
	"libkeyutils1", "libkrb5-3", "libkrb5support0", "libldap2", "liblz4-1", "liblzma5", "libpam0g", "libpq5", "libsasl2-2",
	"libssl3t64", "libstdc++6", "libsystemd0", "libxml2", "libxxhash0", "libzstd1", "zlib1g",
}

const advice = `The tests of the Postgres index need a Postgres with pgvector 0.8 or later. One of these gives them one:
  - set ` + Env + ` to the URL of a server whose user may create databases and extensions
    (but tests that kill their server need one of the others);
  - install Postgres with pgvector (on Debian ` + release + `: apt-get install postgresql-17-pgvector);
  - on a machine with Debian's apt: run 'apt-get update' as root, and the tests unpack what they need by themselves`

// find returns the directory of Postgres' programs, and installs them if need be.
func find() (bin string, err error) {
	controls, err := filepath.Glob("/usr/share/postgresql/*/extension/vector.control")
	if err != nil {
		return "", err
	}
	slices.Reverse(controls) // the newest first, while there are two digits
	for _, c := range controls {
		bin := filepath.Join("/usr/lib/postgresql", filepath.Base(filepath.Dir(filepath.Dir(c))), "bin")
		if _, err := os.Stat(filepath.Join(bin, "postgres")); err == nil {
			return bin, nil
		}
	}
	if bin, err = unpacked(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, advice)
	}
	return bin, nil
}

// unpacked returns the directory of programs in the cache, and fills it if it
// is empty. Several test processes may want that at the same time.
func unpacked() (bin string, err error) {
	cache := "/var/cache" // the servant of root must be able to read it
	if os.Getuid() != 0 {
		if cache, err = os.UserCacheDir(); err != nil {
			return "", err
		}
	}
	root := filepath.Join(cache, "sluice-test", "postgresql-17-"+release+"-"+runtime.GOARCH)
	bin = filepath.Join(root, "usr", "lib", "postgresql", "17", "bin")
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(root+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	done := filepath.Join(root, "complete")
	if _, err := os.Stat(done); err == nil {
		return bin, nil
	}
	// A predecessor may have died in the middle.
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}
	if err := install(root); err != nil {
		return "", fmt.Errorf("cannot install Postgres for the tests: %w", err)
	}
	return bin, os.WriteFile(done, nil, 0o644)
}

func install(root string) error {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("there is no %s", tool)
		}
	}
	sources, err := sources()
	if err != nil {
		return err
	}
	// apt works in directories of its own, beside the system's: it downloads,
	// and verifies what it downloads, and the system stays as it is.
	work := filepath.Join(root, "apt")
	debs := filepath.Join(work, "debs")
	for _, dir := range []string{debs, filepath.Join(work, "lists", "partial"), filepath.Join(work, "cache", "archives", "partial")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	list := filepath.Join(work, "sources.list")
	if err := os.WriteFile(list, []byte(sources), 0o644); err != nil {
		return err
	}
	status := filepath.Join(work, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return err
	}
	apt := func(args ...string) error {
		return run(debs, "apt-get", append([]string{
			"-q", "-o", "Dir::Etc::SourceList=" + list, "-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Dir::State::Lists=" + filepath.Join(work, "lists"),
			"-o", "Dir::State::status=" + status, "-o", "Dir::Cache=" + filepath.Join(work, "cache"), "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3",
		}, args...)...)
	}
	if err := apt("update"); err != nil {
		return err
	}
	if err := apt(append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil || len(files) < len(packages) {
		return errors.Join(err, fmt.Errorf("apt-get downloaded %d of %d packages", len(files), len(packages)))
	}
	for _, f := range files {
		if err := run(debs, "dpkg-deb", "-x", f, root); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	return relocate(root)
}

// relocate has the programs use the libraries that came with them: the loader
// itself is one of these, and a program names it by an absolute path.
func relocate(root string) error {
	loaders, err := filepath.Glob(filepath.Join(root, "usr", "lib", "*", "ld-linux*.so.*"))
	if err != nil || len(loaders) == 0 {
		return errors.Join(err, errors.New("the packages hold no loader"))
	}
	for _, name := range []string{"postgres", "initdb"} {
		program := filepath.Join(root, "usr", "lib", "postgresql", "17", "bin", name)
		if err := os.Rename(program, program+".bin"); err != nil {
			return err
		}
		script := fmt.Sprintf("#!/bin/sh\nexec '%s' --library-path '%s' --argv0 \"$0\" '%s.bin' \"$@\"\n", loaders[0], filepath.Dir(loaders[0]), program)
		if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// sources names the release on the mirrors that this machine is configured for.
func sources() (string, error) {
	targets, err := mirrors()
	if err == nil && len(targets) == 0 && os.Getuid() == 0 {
		// A new machine has no lists yet, and then apt names no mirrors.
		if err := run(".", "apt-get", "-q", "update"); err != nil {
			return "", err
		}
		targets, err = mirrors()
	}
	if err != nil {
		return "", err
	}
	if len(targets) == 0 {
		return "", errors.New("apt knows no mirror of Debian")
	}
	signed := ""
	keys, err := filepath.Glob("/usr/share/keyrings/debian-archive-keyring.[gp]*")
	if err != nil {
		return "", err
	}
	if len(keys) > 0 {
		signed = "[signed-by=" + keys[0] + "] "
	}
	var b strings.Builder
	for _, t := range targets {
		fmt.Fprintf(&b, "deb %s%s main\n", signed, t)
	}
	return b.String(), nil
}

// mirrors returns Debian's repositories with the release in place of the
// machine's own: "URI release".
func mirrors() ([]string, error) {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages", "Component: main").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get indextargets: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		uri, suite, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.Contains(uri, "debian") {
			continue
		}
		name, rest, _ := strings.Cut(suite, "-")
		// Backports have other versions of the same packages.
		if strings.Contains(name, "/") || rest != "" && rest != "security" {
			continue
		}
		target := uri + " " + release
		if rest != "" {
			target += "-" + rest
		}
		if !slices.Contains(found, target) {
			found = append(found, target)
		}
	}
	return found, nil
}

func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, args[len(args)-1], err, bytes.TrimSpace(out))
	}
	return nil
}
