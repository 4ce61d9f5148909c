from heal.worlds.gsm_symbolic.world import GsmSymbolic as GsmSymbolic
