"""A trial of the cluster: one note from the login node, one short job on each kind of node, one verdict."""


localrules:
    preflight_login,
    preflight,


rule preflight_login:
    output:
        temp(RESULTS / "preflight" / "login.json"),
    log:
        log_of("preflight", "login"),
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(2_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(10, LARGEST.minutes),
    params:
        config_file=CONFIG_FILE,
    message:
        "Looking around on this machine"
    shell:
        "covidpipe preflight login --config {params.config_file:q} --out {output:q} > {log:q} 2>&1"


rule preflight_cpu:
    input:
        RESULTS / "preflight" / "login.json",
    output:
        temp(RESULTS / "preflight" / "cpu.json"),
    log:
        log_of("preflight", "cpu"),
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=grow_with_attempt(2_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(10, LARGEST.minutes),
    params:
        config_file=CONFIG_FILE,
    message:
        "Looking around on a CPU node"
    shell:
        "covidpipe preflight cpu --config {params.config_file:q} --note {input:q} --out {output:q} > {log:q} 2>&1"


rule preflight_gpu:
    input:
        RESULTS / "preflight" / "login.json",
    output:
        temp(RESULTS / "preflight" / "gpu.json"),
    log:
        log_of("preflight", "gpu"),
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=grow_with_attempt(4_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(10, LARGEST.minutes),
    params:
        config_file=CONFIG_FILE,
    message:
        "Looking around on a GPU node"
    shell:
        "covidpipe preflight gpu --config {params.config_file:q} --note {input:q} --out {output:q} > {log:q} 2>&1"


rule preflight:
    input:
        login=RESULTS / "preflight" / "login.json",
        cpu=RESULTS / "preflight" / "cpu.json",
        gpu=RESULTS / "preflight" / "gpu.json",
    log:
        log_of("preflight", "verdict"),
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=grow_with_attempt(2_000, LARGEST.memory_mb),
        runtime=grow_with_attempt(10, LARGEST.minutes),
    params:
        config_file=CONFIG_FILE,
    message:
        "Comparing what they found"
    shell:
        "covidpipe preflight verdict --config {params.config_file:q} "
        "--answers {input.login:q} {input.cpu:q} {input.gpu:q} 2>&1 | tee {log:q}"
