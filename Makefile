# Two words for what dev.py does; `python3 dev.py` lists it all, and needs no make.
PYTHON ?= python3

.PHONY: run test faults bench lint lock clean
run test faults bench lint lock clean:
	@$(PYTHON) dev.py $@
