"""notices: who is told that a run failed, a gate failed or a champion changed.

    # $VITLENS_NOTICES, or notices.yaml of the home
    - {kind: webhook, url: https://example.com/hook, secret_file: /run/secrets/hook}
    - {kind: slack, url_file: /run/secrets/slack, events: [run_failed]}
    - {kind: mail, host: smtp.example.com, sender: vitlens@example.com, to: [team@example.com]}

A kind of receiver is a module here, found by its name, with one subclass of `base.Receiver`.
Secrets stand in files that the settings name, never in the settings themselves.
`pipelines.registry.notify` reads the file and sends.
"""
