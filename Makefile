# What a person types here. The work is in scripts/, which says what it does as it goes.
#
#   make demo     two users register, invite and chat through the embedded server, with the ladder
#   make test     installs what is missing, then lint, types, layers and every test with coverage
#   make check    lint, types and layers only
#   make live     the tests against real peers, on every OpenSIPS and database; fills docs/matrix.json
#                 (make live ARGS="--resume 3.6.8": see scripts/live.sh)
#   make matrix   docs/matrix.md from docs/matrix.json
#   make conformance   docs/conformance.md from docs/conformance.toml and the markers of the tests
#   make pictures   the pictures of the docs, and the outputs of docs/first-session.md, by the program itself
#   make soak     a thousand agents register, call and chat for ten minutes; nothing may leak
#   make bench    the benchmarks, each beside its peers
#   make fuzz     every parser under a fuzzer that follows the coverage (make fuzz SECONDS=600)
#   make clean    removes what the above have made

.PHONY: demo test check live matrix conformance pictures soak bench fuzz clean

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

check:
	@scripts/check.sh

live:
	@scripts/live.sh $(ARGS)

matrix:
	@.venv/bin/python -m tests.live.matrix table

conformance:
	@.venv/bin/python -m tests.conformance

pictures:
	@scripts/pictures.sh

soak:
	@scripts/soak.sh

bench:
	@scripts/bench.sh

fuzz:
	@scripts/fuzz.sh $(or $(SECONDS),60)

clean:
	@scripts/clean.sh
