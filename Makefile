# What a person types here. The work is in scripts/, which says what it does as it goes.
#
#   make demo     two users register, invite and chat through the embedded server, with the ladder
#   make test     installs what is missing, then lint, types, layers and every test with coverage
#   make check    lint, types and layers only
#   make live     only the tests against real peers: Kamailio, sipp, opensips-cli, tshark
#   make bench    the benchmarks, each beside its peers
#   make clean    removes what the above have made

.PHONY: demo test check live bench clean

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

check:
	@scripts/check.sh

live:
	@scripts/live.sh

bench:
	@scripts/bench.sh

clean:
	@scripts/clean.sh
