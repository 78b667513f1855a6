"""What Pyngress costs: ``micro`` measures one function, ``load`` the whole proxy beside other proxies."""
