import CHost

/// Branches from block to block: each is a link, in the list of the block that it leads to.
extension Translator {
  /// Links made so far of the region that is being filled.
  var linkCount: Int { linksUsed[region] }

  func makeLink(
    site: UnsafeMutablePointer<UInt8>, unlinked: UnsafeMutablePointer<UInt8>
  ) -> UnsafeMutablePointer<vm_code_link> {
    let link = links + (region * Self.regionLinks + linksUsed[region])
    linksUsed[region] += 1
    link.initialize(to: vm_code_link(next: nil, previous: nil, site: site, unlinked: unlinked))
    return link
  }

  /// Makes a branch lead straight to `block`.
  func connect(_ link: UnsafeMutablePointer<vm_code_link>, to block: UnsafeMutablePointer<vm_block>) {
    Assembler.patch(link.pointee.site, writable(block.pointee.code))
    let first = incoming(block)
    link.pointee.next = first.pointee
    link.pointee.previous = first
    // `next` is a link's first field.
    let own = UnsafeMutableRawPointer(link).assumingMemoryBound(to: Link.self)
    if let next = first.pointee { next.pointee.previous = own }
    first.pointee = link
  }

  typealias Link = UnsafeMutablePointer<vm_code_link>?

  /// The head of the list of branches linked to `block`.
  private func incoming(_ block: UnsafeMutablePointer<vm_block>) -> UnsafeMutablePointer<Link> {
    let field = UnsafeMutableRawPointer(block) + MemoryLayout<vm_block>.offset(of: \.incoming)!
    return field.assumingMemoryBound(to: Link.self)
  }

  /// Has the branches to `block` lead to the dispatcher.
  func unlinkBranches(to block: UnsafeMutablePointer<vm_block>) {
    var link = block.pointee.incoming
    while let each = link {
      Assembler.patch(each.pointee.site, each.pointee.unlinked)
      link = each.pointee.next
      each.pointee.next = nil
      each.pointee.previous = nil
    }
    block.pointee.incoming = nil
  }

  /// Takes a branch whose code goes out of its target's list.
  func detach(_ link: UnsafeMutablePointer<vm_code_link>) {
    guard let previous = link.pointee.previous else { return }
    previous.pointee = link.pointee.next
    if let next = link.pointee.next { next.pointee.previous = previous }
    link.pointee.previous = nil
    link.pointee.next = nil
  }
}
