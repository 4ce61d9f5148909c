from heal.worlds.mini.world import Mini as Mini
