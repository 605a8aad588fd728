// Writes what Go's usual library for versions and ranges says, for the tests of ours to compare with.
module skiff.dev/e2e/vectors/versions

go 1.26.0

require github.com/Masterminds/semver/v3 v3.5.0
